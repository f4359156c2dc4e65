// One slave, seen from the master: carries out what the session (session.ts) decides. Connects, greets, looks up
// where the slave is, hands over to a stream of runs, takes acks. It shares nothing with other links but the
// log's durable mark, so a slow or dead slave holds up nobody.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { historyStart, type LogPosition } from '../log/chain.ts'
import type { LogReader } from '../log/reader.ts'
import type { Timer } from '../platform/clock.ts'
import { addressText, type Connection } from '../platform/network.ts'
import { Channel } from '../wire/channel.ts'
import type { Message } from '../wire/messages.ts'
import type { Progress } from '../wire/messages/ack.ts'
import { isLater } from '../wire/messages/fence.ts'
import type { Hello } from '../wire/messages/hello.ts'
import { refusalOf } from '../wire/messages/refuse.ts'
import type { Welcome } from '../wire/messages/welcome.ts'
import { followingText, positionText } from '../wire/position-text.ts'
import { groupsVersion } from '../wire/protocol.ts'
import { answerRepair } from './answer-repair.ts'
import { backoffMs } from './backoff.ts'
import { countAgain } from './dropped.ts'
import { LinkAck } from './link-ack.ts'
import type { LinkOptions, LinkPlatform, LinkSource } from './link-options.ts'
import { notConnected, SlaveQuestions } from './questions.ts'
import { checkRightServer } from './right-server.ts'
import { RunStream } from './run-stream.ts'
import { next, type SessionAction, type SessionEvent, type SessionState } from './session.ts'
import { shipStatus, type ShipStatus } from './status.ts'

/** Before WELCOME. */
const firstMessages = ['welcome', 'fence', 'refuse', 'ask-log'] as const

/** What belongs to one connection, and goes with it. */
interface Call {
  readonly channel: Channel
  /** Null until it has gone out. */
  hello: Hello | null
  /** What the slave said of itself, with its newest position and progress. */
  welcome: Welcome | null
  /** Found, and not streamed from yet. */
  reader: LogReader | null
  stream: RunStream | null
  readonly questions: SlaveQuestions
}

export class Link {
  readonly #platform: LinkPlatform
  readonly #options: LinkOptions
  readonly #source: LinkSource
  readonly #kept: LinkAck
  readonly #acksDirectory: string
  #state: SessionState = { name: 'unready' }
  #call: Call | null = null
  /** Counts attempts: a connection that is made for an older one comes too late. */
  #attempt = 0
  /** Channels that still have a refusal to deliver. */
  readonly #leaving = new Set<Channel>()
  #timer: Timer | null = null
  #lastError: HotBackupError | null = null
  /** Of the connections before this one. */
  #bytesSentBefore = 0

  private constructor(
    platform: LinkPlatform,
    options: LinkOptions,
    source: LinkSource,
    ack: LinkAck,
    acksDirectory: string,
  ) {
    this.#platform = platform
    this.#options = options
    this.#source = source
    this.#kept = ack
    this.#acksDirectory = acksDirectory
  }

  /** Throws ERR_DISK or ERR_DISK_FULL when there can be no ack file in `acksDirectory`. */
  static async open(
    platform: LinkPlatform,
    options: LinkOptions,
    source: LinkSource,
    acksDirectory: string,
  ): Promise<Link> {
    const ack = await LinkAck.open(platform, options, acksDirectory)
    return new Link(platform, options, source, ack, acksDirectory)
  }

  /** The log is durable further than before, or for the first time. */
  wake(): void {
    const call = this.#call
    if (this.#state.name === 'unready') {
      this.#handle('start')
    } else if (call !== null && call.stream !== null) {
      // The slave must hear of a new path, or a loop would go unnoticed.
      if (this.#options.upstream() === call.hello?.path) call.stream.wake()
      else this.#fail(new HotBackupError('ERR_WIRE', 'the servers above this one have changed'))
    }
  }

  get slave(): LinkOptions['slave'] {
    return this.#options.slave
  }

  status(): ShipStatus {
    const channel = this.#call?.channel
    return shipStatus({
      slave: this.#options.slave,
      state: this.#state,
      ack: this.#kept.last,
      mark: this.#source.mark,
      stream: this.#call?.stream ?? null,
      pendingBytes: channel?.pendingBytes ?? 0,
      bytesSent: this.#bytesSentBefore + (channel?.bytesSent ?? 0),
      roundTripMs: channel?.roundTripMs ?? null,
      heardMs: this.#heardMs,
      applying: this.#call?.welcome?.progress.applying ?? null,
      lastError: this.#lastError,
      now: this.#platform.clock.now(),
    })
  }

  /** To ask the slave. Throws ERR_NO_STATISTICS when nothing streams to it. */
  get questions(): SlaveQuestions {
    const call = this.#state.name === 'streaming' ? this.#call : null
    if (call === null) throw notConnected(this.slave.name, this.#lastError)
    return call.questions
  }

  get #heardMs(): number | null {
    if (this.#state.name !== 'streaming' || this.#call === null) return null
    return this.#platform.clock.monotonic() - this.#call.channel.heardAt
  }

  async stop(): Promise<void> {
    this.#handle('stop')
    for (const channel of this.#leaving) channel.destroy(null)
    await this.#kept.close()
  }

  // ---- the session ----

  #handle(event: SessionEvent): void {
    const before = this.#state
    const [state, actions] = next(before, event)
    this.#state = state
    if (event === 'proven') this.#lastError = null
    if (state.name !== before.name) this.#logChange(before)
    for (const action of actions) this.#act(action)
  }

  #act(action: SessionAction): void {
    switch (action) {
      case 'call':
        void this.#connect()
        return
      case 'greet':
        void this.#greet(this.#current)
        return
      case 'seek':
        void this.#seek(this.#current)
        return
      case 'stream':
        this.#stream(this.#current)
        return
      case 'wait':
        this.#wait()
        return
      case 'hangUp':
        this.#hangUp()
        return
      default:
        action satisfies never
    }
  }

  get #current(): Call {
    if (this.#call === null)
      throw new TypeError('the session acts on a connection that is not there')
    return this.#call
  }

  #logChange(before: SessionState): void {
    const { name, address } = this.#options.slave
    const { name: to } = this.#state
    const code = this.#lastError?.code ?? null
    const place = addressText(address)
    const fields = { slave: name, address: place, from: before.name, to, code }
    const say = (what: string) => `link to "${name}": ${what}`
    if (to === 'waiting') {
      const text = this.#lastError?.message ?? 'closed'
      this.#options.log('warn', say(text), { ...fields, alarm: false }) // Not before it has lasted.
    } else if (to === 'streaming') {
      const position = this.#call?.welcome?.position ?? historyStart
      this.#options.log('info', say(`streaming ${followingText(position)}`), fields)
    } else {
      this.#options.log(to === 'stopped' ? 'info' : 'debug', say(to), fields)
    }
  }

  /** The connection, or the attempt at one, ended by itself. */
  #fail(error: HotBackupError): void {
    this.#lastError = error
    this.#handle('failed')
  }

  /** This side says no: the slave is told why before the connection ends. */
  #refuse(call: Call, error: HotBackupError): void {
    const position = call.welcome?.position ?? null
    if (position !== null) this.#kept.refused(error, position)
    this.#leaving.add(call.channel)
    call.channel.refuse(refusalOf(error, this.#source.mark ?? historyStart, position), error)
    this.#refused(error)
  }

  #refused(error: HotBackupError): void {
    this.#lastError = error
    this.#handle(error.code === 'ERR_DISK_FULL' ? 'failed' : 'refused') // It may end by itself.
    if (error.code === 'ERR_LINK_SEED') this.#options.needsSeed(this.#options.slave)
  }

  /** An error of reading the own log, or of finding something in it. */
  #troubled(call: Call, error: unknown): void {
    if (!isHotBackupError(error)) {
      // A mistake in this program: it is told to both sides, and takes no other link with it.
      const text = `the link stopped by a fault of the program: ${String(error)}`
      this.#refuse(call, new HotBackupError('ERR_LINK_REFUSED', text, {}, error))
    } else if (error.code === 'ERR_DISK') {
      this.#fail(error) // A segment may have been removed between two looks: the next call tells.
    } else if (error.code === 'ERR_LOG_REMOVED') {
      const text = `the log no longer holds what follows transaction ${call.stream?.sentTxn ?? 0}: the slave needs a new copy of the database`
      this.#refuse(call, new HotBackupError('ERR_LINK_SEED', text, {}, error))
    } else {
      if (error.code === 'ERR_LOG_CORRUPT') this.#options.damaged(error)
      this.#refuse(call, error)
    }
  }

  // ---- actions ----

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt
    const { slave, key, timeoutMs } = this.#options
    let connection: Connection
    try {
      connection = await this.#platform.network.connect(slave.address, key, timeoutMs)
    } catch (error) {
      if (attempt !== this.#attempt) return
      if (!isHotBackupError(error)) throw error
      this.#lastError = error
      // The other key will not come by itself.
      this.#handle(error.code === 'ERR_KEY' ? 'refused' : 'failed')
      return
    }
    if (attempt !== this.#attempt) return connection.destroy()
    this.#call = this.#newCall(connection)
    this.#handle('connected')
  }

  #newCall(connection: Connection): Call {
    const { heartbeatMs, timeoutMs } = this.#options
    const durableTxn = () => this.#source.mark?.txn ?? 0
    const options = { heartbeatMs, timeoutMs, durableTxn }
    const channel = new Channel(connection, this.#platform.clock, options, firstMessages, {
      message: message => this.#message(call, message),
      writable: () => call.stream?.wake(),
      closed: error => {
        this.#leaving.delete(channel)
        if (call !== this.#call) return
        this.#fail(error ?? new HotBackupError('ERR_WIRE', 'the slave closed the connection'))
      },
    })
    const questions = new SlaveQuestions(this.slave.name, this.#platform.clock, timeoutMs, channel)
    const nothing = { hello: null, welcome: null, reader: null, stream: null }
    const call: Call = { channel, questions, ...nothing }
    return call
  }

  async #greet(call: Call): Promise<void> {
    const { name: serverName, serverId, upstream } = this.#options
    const mark = this.#source.mark
    if (mark === null) throw new TypeError('nobody is called before there is something durable')
    try {
      const description = await this.#source.log.describe(mark)
      if (call !== this.#call) return
      this.#kept.called(description)
      const path = upstream()
      const slaveName = this.slave.name
      call.hello = { name: 'hello', serverName, serverId, slaveName, path, ...description }
      call.channel.send(call.hello)
    } catch (error) {
      if (call === this.#call) this.#troubled(call, error)
    }
  }

  async #seek(call: Call): Promise<void> {
    const { welcome } = call
    const mark = this.#source.mark
    if (welcome === null || mark === null) throw new TypeError('nobody to look up')
    try {
      checkRightServer(this.#options, welcome)
      // After a rewind the lineage in WELCOME no longer belongs to the position, which was found on this log before.
      const rewound = call.stream !== null
      const { log } = this.#source
      call.stream?.close()
      const reader = await (rewound ? log.open(welcome, mark) : log.locate(welcome, mark))
      if (call === this.#call) {
        call.reader = reader
        this.#handle('found')
      } else await reader.close()
    } catch (error) {
      if (call === this.#call) this.#troubled(call, error)
    }
  }

  #stream(call: Call): void {
    const { channel, hello, welcome, reader } = call
    if (hello === null || welcome === null || reader === null)
      throw new TypeError('nothing to stream')
    call.reader = null
    const mark = () => this.#source.mark
    const failed = (error: unknown) => this.#troubled(call, error)
    const { windowBytes } = this.#options
    const startTxn = welcome.position.txn
    call.stream = new RunStream(reader, channel, startTxn, windowBytes, mark, failed)
    call.questions.version = welcome.version
    const { answers, version } = call.questions
    const repairs = version >= groupsVersion ? (['ask-repair'] as const) : []
    channel.established('ack', 'rewind', 'refuse', 'ask-log', ...answers, ...repairs)
    channel.send({ name: 'start', position: welcome.position })
    // Its word counts only now that its history is known to be this one.
    this.#kept.found(hello, welcome)
    this.#countAgain()
    call.stream.wake()
  }

  /** A slave that was dropped from the queue follows the log: from now on nothing goes that it needs. */
  #countAgain(): void {
    const { name } = this.#options.slave
    countAgain(this.#platform.disk, this.#acksDirectory, name).catch((error: unknown) => {
      const text = `"${name}" still counts as dropped: ${String(error)}`
      this.#options.log('error', text, { slave: name })
    })
  }

  #wait(): void {
    if (this.#state.name !== 'waiting') throw new TypeError('nothing to wait for')
    const delayMs = backoffMs(this.#state.trouble, this.#platform.random)
    this.#timer = this.#platform.clock.after(delayMs, () => {
      this.#timer = null
      // A new connection would replace, at the slave, the one on which a refusal is still under way.
      if (this.#leaving.size > 0) this.#wait()
      else this.#handle('due')
    })
  }

  #hangUp(): void {
    this.#attempt++
    this.#timer?.cancel()
    this.#timer = null
    const call = this.#call
    if (call === null) return
    this.#call = null
    this.#kept.hungUp()
    this.#bytesSentBefore += call.channel.bytesSent
    if (!this.#leaving.has(call.channel)) call.channel.destroy(null)
    call.stream?.close()
    call.questions.end()
    void call.reader?.close()
  }

  // ---- what the slave says ----

  #message(call: Call, message: Exclude<Message, { name: 'ping' | 'pong' }>): void {
    if (call !== this.#call) return
    switch (message.name) {
      case 'welcome':
        call.welcome = message
        // A second one has no place, and nothing else has before START.
        call.channel.established('refuse', 'ask-log')
        this.#handle('welcomed')
        return
      case 'refuse': {
        const { name: slave } = this.#options.slave
        const error = new HotBackupError(message.code, `"${slave}" refuses: ${message.text}`, {
          slave,
        })
        this.#kept.refused(error, message.sender)
        this.#refused(error)
        return
      }
      case 'fence':
        if (isLater(message, call.hello)) this.#options.fenced(message, this.#options.slave)
        return
      case 'ack':
        this.#ack(call, message.progress)
        return
      case 'rewind':
        this.#rewind(call, message.position)
        return
      case 'statistics':
      case 'differences':
        call.questions.answered(message)
        return
      case 'ask-log':
        // A damaged slave asks before it lets anybody in, and that may take longer than a handshake.
        if (call.welcome === null) call.channel.established(...firstMessages)
        void this.#source.log.answer(call.channel, message)
        return
      case 'ask-repair':
        void answerRepair(this.#options.repair, call.channel, message)
        return
      default:
        throw new HotBackupError('ERR_WIRE', `a slave sends no ${message.name.toUpperCase()}`)
    }
  }

  #ack(call: Call, progress: Progress): void {
    const { hello, welcome, stream } = call
    if (hello === null || welcome === null || stream === null) return
    if (progress.receivedTxn > stream.sentTxn && this.#state.name === 'streaming') {
      const text = `transaction ${progress.receivedTxn} was acknowledged, ${stream.sentTxn} was sent last`
      throw new HotBackupError('ERR_WIRE', text)
    }
    const { receivedTxn, durable } = welcome.progress
    if (progress.receivedTxn < receivedTxn || progress.durable.txn < durable.txn) {
      throw new HotBackupError('ERR_WIRE', 'an ack was taken back within a connection')
    }
    call.welcome = { ...welcome, progress }
    this.#kept.confirmed(hello, call.welcome)
    const caughtUp = progress.receivedTxn === this.#source.mark?.txn
    if (caughtUp || progress.receivedTxn > welcome.position.txn) this.#handle('proven')
    stream.acknowledged(progress.receivedTxn, progress.appliedTxn)
  }

  #rewind(call: Call, position: LogPosition): void {
    const { welcome, stream } = call
    if (welcome === null || stream === null || this.#state.name !== 'streaming') return
    if (position.txn > stream.sentTxn) {
      const text = `${positionText(position)} is asked for again, ${stream.sentTxn} was sent last`
      throw new HotBackupError('ERR_WIRE', text)
    }
    const { name: slave } = this.#options.slave
    const text = `"${slave}" asks again for ${followingText(position)}`
    this.#options.log('warn', text, { slave, sentTxn: stream.sentTxn, alarm: false })
    call.welcome = { ...welcome, position }
    this.#handle('rewind')
  }
}
