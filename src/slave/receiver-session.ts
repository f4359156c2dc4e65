// One connection of a master to the slave's port, from HELLO to the end.
//
//   greeting ─SEED taken─► seeding
//   greeting ─HELLO let in─► welcomed ─START─► streaming ─missing or damaged─► rewinding ─START─► streaming
//
// Every state leads to `ended`. Until HELLO has come the peer is a stranger and gets not a byte (but for
// a word about versions). While rewinding, what is still under way from before is dropped.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { unsyncedBytesMax } from '../limits.ts'
import type { LogPosition } from '../log/chain.ts'
import type { PieceSource } from '../log/repair.ts'
import type { PieceQuestion } from '../log/pieces.ts'
import { identityBytes } from '../log/segment.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Clock } from '../platform/clock.ts'
import type { Connection } from '../platform/network.ts'
import { answerLog } from '../wire/answer-log.ts'
import { Channel } from '../wire/channel.ts'
import type { LinkLog } from '../wire/link-log.ts'
import { LogQuestions } from '../wire/log-questions.ts'
import { RepairQuestions } from '../wire/repair-questions.ts'
import type { Message } from '../wire/messages.ts'
import type { Applying, Progress } from '../wire/messages/ack.ts'
import type { DifferencesPage } from '../wire/messages/differences.ts'
import type { AskGroup } from '../wire/messages/group.ts'
import type { Hello } from '../wire/messages/hello.ts'
import type { AskLog } from '../wire/messages/log-piece.ts'
import type { Promote } from '../wire/messages/promote.ts'
import { refusalOf } from '../wire/messages/refuse.ts'
import type { Seed } from '../wire/messages/seed.ts'
import type { SlaveStatistics } from '../wire/messages/statistics.ts'
import { followingText, positionText } from '../wire/position-text.ts'
import {
  askLogVersion,
  askVersion,
  differencesVersion,
  groupsVersion,
  protocolVersionMax,
  statisticsVersion,
  type MessageName,
} from '../wire/protocol.ts'
import type { GroupAnswers } from './group-answers.ts'
import { Intake, type Verdict } from './receiver-intake.ts'
import { SeedSession, type SeedTaker } from './seed-session.ts'

export interface ReceiverSessionOptions {
  readonly name: string
  readonly serverId: Uint8Array
  readonly log: LogWriter
  readonly appliedTxn: () => number
  /** Wall-clock milliseconds by the master's clock. */
  readonly appliedTime: () => number
  /** Whether it applies what it stores. */
  readonly applying: () => Applying
  /** What the master may ask for. */
  readonly statistics: () => SlaveStatistics
  readonly piece: (question: PieceQuestion) => Promise<Uint8Array | null>
  readonly differences: (start: number) => DifferencesPage
  /** What a master whose group is damaged asks for. */
  readonly group: GroupAnswers['piece']
  readonly heartbeatMs: number
  readonly timeoutMs: number
  readonly logger: LinkLog
}

export interface ReceiverSessionEvents {
  /** Why the master is not let in; null makes this session the one that writes the log. */
  admit(hello: Hello): HotBackupError | null
  /** The master wants this slave to take over: why not, or null; then it does, after a word of this session. */
  promote(request: Promote): Promise<HotBackupError | null>
  /** A master that would give a copy: what takes it, or why nothing does. */
  seed(seed: Seed): SeedTaker | HotBackupError
  /** A master whose log is damaged asks for bytes of this one: it is no stranger. */
  asked(): void
  streaming(): void
  /** Nothing more comes of it. Once. Null: the master hung up. */
  ended(error: HotBackupError | null): void
  /** Its connection is closed. Once, last. */
  closed(): void
}

export type ReceiverState =
  'greeting' | 'seeding' | 'welcomed' | 'streaming' | 'rewinding' | 'ended'

/** A stream that comes damaged so often without getting further is given up. */
const rewindsMax = 3

export class ReceiverSession {
  readonly #options: ReceiverSessionOptions
  readonly #events: ReceiverSessionEvents
  readonly #channel: Channel
  #state: ReceiverState = 'greeting'
  #master: Hello | null = null
  /** The protocol version of this connection. */
  #version = 0
  #masterDurableTxn = 0
  #intake: Intake | null = null
  #seed: SeedSession | null = null
  #questions: LogQuestions | null = null
  #repairs: RepairQuestions | null = null
  #ackPlanned = false
  /** What the last ack said; null when the next one is to go out in any case. */
  #acknowledged: Progress | null = null
  /** How often in a row the stream was asked for again behind `#rewoundTo`. */
  #rewinds = 0
  #rewoundTo = -1

  constructor(
    connection: Connection,
    clock: Clock,
    options: ReceiverSessionOptions,
    events: ReceiverSessionEvents,
  ) {
    this.#options = options
    this.#events = events
    const { heartbeatMs, timeoutMs, log } = options
    const durableTxn = () => log.durableTxn
    const limits = { heartbeatMs, timeoutMs, durableTxn }
    const first = ['hello', 'promote', 'join', 'seed', 'ask-log', 'ask-group'] as const
    this.#channel = new Channel(connection, clock, limits, first, {
      message: message => this.#message(message),
      writable: () => {},
      closed: error => {
        this.#ended(error)
        events.closed()
      },
    })
  }

  get state(): ReceiverState {
    return this.#state
  }
  get remoteAddress(): string {
    return this.#channel.remoteAddress
  }
  /** Null until HELLO has come. */
  get master(): Hello | null {
    return this.#master
  }
  /** The last durable transaction of the master, as far as it has told. */
  get masterDurableTxn(): number {
    return Math.max(this.#masterDurableTxn, this.#channel.peerDurableTxn)
  }
  get bytesHeard(): number {
    return this.#channel.bytesHeard
  }
  get midMessage(): boolean {
    return this.#channel.midMessage
  }

  /** The master's log, while it streams; null before, and when its program is too old to be asked. */
  get mastersLog(): PieceSource | null {
    return this.#state === 'streaming' ? this.#questions : null
  }

  /** To ask the master to repair groups; null when it does not stream, or cannot be asked. */
  get repairs(): RepairQuestions | null {
    return this.#state === 'streaming' ? this.#repairs : null
  }

  /** Tells the master how far the slave is, at the end of this turn of the event loop, unless it was told so last. */
  ackSoon(): void {
    if (this.#ackPlanned) return
    this.#ackPlanned = true
    process.nextTick(() => {
      this.#ackPlanned = false
      if (this.#state !== 'streaming' && this.#state !== 'rewinding') return
      const progress = this.#progress
      if (this.#acknowledged !== null && sameProgress(progress, this.#acknowledged)) return
      this.#acknowledged = progress
      this.#channel.send({ name: 'ack', progress })
    })
  }

  /** Ends the session with a word to the master. */
  refuse(error: HotBackupError): void {
    if (this.#state === 'ended') return
    const { position, identity } = this.#options.log
    if (error.code === 'ERR_FENCED' && identity !== null) {
      const { timeline, databaseId, lineageId } = identity
      const serverName = this.#options.name
      this.#channel.send({ name: 'fence', timeline, serverName, databaseId, lineageId })
    }
    this.#channel.refuse(refusalOf(error, position, this.#master?.durable ?? null), error)
    this.#ended(error)
  }

  /** Ends the session without a word. */
  destroy(error: HotBackupError | null): void {
    this.#channel.destroy(error)
    this.#ended(error)
  }

  #ended(error: HotBackupError | null): void {
    if (this.#state === 'ended') return
    this.#change('ended', error?.message ?? 'the master hung up')
    void this.#seed?.end()
    this.#questions?.end(error)
    this.#repairs?.end(error)
    this.#events.ended(error)
  }

  #change(state: ReceiverState, why: string): void {
    const from = this.#state
    this.#state = state
    const who = this.#master?.serverName ?? null
    const fields = { master: who, address: this.#channel.remoteAddress, from, to: state }
    const name = who === null ? `link from ${this.#channel.remoteAddress}` : `link from "${who}"`
    const told = state === 'streaming' || state === 'seeding' || state === 'ended'
    const level = told ? 'info' : 'debug'
    if (state !== 'rewinding') this.#options.logger(level, `${name}: ${why}`, fields)
    else this.#options.logger('warn', `${name}: ${why}`, { ...fields, alarm: false })
  }

  get #progress(): Progress {
    const { log, appliedTxn, appliedTime, applying } = this.#options
    return {
      receivedTxn: log.lastTxn,
      durable: log.durablePosition,
      appliedTxn: appliedTxn(),
      appliedTime: appliedTime(),
      applying: applying(),
    }
  }

  #message(message: Exclude<Message, { name: 'ping' | 'pong' }>): void {
    try {
      this.#take(message)
    } catch (error) {
      // Broken rules of the protocol end the connection without a word: the channel sees to that.
      if (!isHotBackupError(error) || error.code === 'ERR_WIRE') throw error
      this.refuse(error)
    }
  }

  #take(message: Exclude<Message, { name: 'ping' | 'pong' }>): void {
    if (this.#seed !== null && message.name !== 'refuse') {
      this.#seed.message(message)
      return
    }
    switch (message.name) {
      case 'seed':
        this.#seeded(message)
        return
      case 'hello':
        this.#hello(message)
        return
      case 'promote':
        void this.#promote(message)
        return
      case 'join':
        throw new HotBackupError('ERR_WRONG_TYPE', `"${this.#options.name}" is a slave itself`)
      case 'start':
        this.#start(message.position)
        return
      case 'segment':
        if (this.#state === 'streaming') this.#judge(this.#opened.segment(message.headerBytes))
        return
      case 'blocks':
        this.#masterDurableTxn = message.durableTxn
        if (this.#state === 'streaming') this.#judge(this.#opened.blocks(message))
        return
      case 'ask-statistics':
        // A master that does not read gets no pile of answers.
        if (this.#channel.writable) {
          const { token } = message
          this.#channel.send({ name: 'statistics', token, statistics: this.#options.statistics() })
        }
        return
      case 'ask-log':
        this.#asked(message)
        return
      case 'log-piece':
        this.#questions?.answered(message)
        return
      case 'repaired':
        this.#repairs?.answered(message)
        return
      case 'ask-group':
        this.#askedForGroup(message)
        return
      case 'ask-differences':
        if (this.#channel.writable) {
          const { token, start } = message
          const page = this.#options.differences(start)
          this.#channel.send({ name: 'differences', token, page })
        }
        return
      case 'refuse':
        this.#refused(message.code, message.text)
        return
      default:
        throw new HotBackupError('ERR_WIRE', `a master sends no ${message.name.toUpperCase()}`)
    }
  }

  #seeded(seed: Seed): void {
    const taker = this.#events.seed(seed)
    if (taker instanceof HotBackupError) {
      this.refuse(taker)
      return
    }
    this.#channel.established('seed-image', 'refuse')
    this.#change('seeding', `"${seed.serverName}" gives a copy of the database`)
    this.#seed = new SeedSession(this.#channel, taker, error => this.refuse(error))
  }

  /** A connection for such questions and no more. */
  #asked(question: AskLog): void {
    this.#events.asked()
    this.#channel.established('ask-log', 'refuse')
    void answerLog(this.#options.piece, this.#channel, question)
  }

  /** Likewise. */
  #askedForGroup(question: AskGroup): void {
    this.#events.asked()
    this.#channel.established('ask-group', 'refuse')
    if (!this.#channel.writable) return
    const { token } = question
    this.#channel.send({ name: 'group-piece', token, ...this.#options.group(question) })
  }

  get #opened(): Intake {
    if (this.#intake === null) throw new TypeError('the stream has not started')
    return this.#intake
  }

  #hello(hello: Hello): void {
    this.#master = hello
    this.#masterDurableTxn = hello.durable.txn
    const refusal = this.#events.admit(hello)
    if (refusal !== null) {
      this.refuse(refusal)
      return
    }
    this.#version = hello.version ?? protocolVersionMax
    this.#welcome(this.#version, 'start', 'refuse')
    const { log } = this.#options
    this.#change('welcomed', `let in, this slave holds ${positionText(log.position)}`)
  }

  async #promote(request: Promote): Promise<void> {
    const refusal = await this.#events.promote(request)
    if (this.#state === 'ended') return
    if (refusal !== null) this.refuse(refusal)
    else this.#welcome(askVersion, 'refuse')
  }

  #welcome(version: number, ...next: readonly MessageName[]): void {
    const { name, serverId, log } = this.#options
    const noIdentity = new Uint8Array(identityBytes)
    this.#channel.established(...next)
    this.#channel.send({
      name: 'welcome',
      version,
      serverName: name,
      serverId,
      databaseId: log.identity?.databaseId ?? noIdentity,
      lineageId: log.identity?.lineageId ?? noIdentity,
      timeline: log.identity?.timeline ?? 0,
      position: log.position,
      progress: this.#progress,
    })
  }

  #start(position: LogPosition): void {
    const { log } = this.#options
    const { txn, chain } = log.position
    if (this.#state === 'streaming' || position.txn !== txn || position.chain !== chain) {
      const text = `the stream would start behind ${positionText(position)}; this slave holds ${positionText(log.position)}`
      throw new HotBackupError('ERR_LINK_REFUSED', text)
    }
    this.#intake = new Intake(log)
    const asked = this.#version >= statisticsVersion ? (['ask-statistics'] as const) : []
    const wanted = this.#version >= differencesVersion ? (['ask-differences'] as const) : []
    if (this.#version >= askLogVersion && this.#master !== null) {
      this.#questions ??= new LogQuestions(this.#channel, this.#master.databaseId)
    }
    const answers = this.#questions === null ? [] : (['log-piece'] as const)
    if (this.#version >= groupsVersion) this.#repairs ??= new RepairQuestions(this.#channel)
    const repaired = this.#repairs === null ? [] : (['repaired'] as const)
    this.#channel.established(
      'segment',
      'blocks',
      'start',
      'refuse',
      ...asked,
      ...wanted,
      ...answers,
      ...repaired,
    )
    this.#change('streaming', `streaming ${followingText(position)}`)
    this.#events.streaming()
    this.#acknowledged = null
    this.ackSoon()
  }

  #judge(verdict: Verdict): void {
    if (verdict === 'missing' || verdict === 'damaged') {
      this.#rewind(verdict)
      return
    }
    // The master may not know that the slave has it.
    if (verdict === 'duplicate') this.#acknowledged = null
    this.ackSoon()
    const { log } = this.#options
    if (log.unsyncedBytes <= unsyncedBytesMax) return
    this.#channel.pause()
    log.drained().then(
      () => this.#channel.resume(),
      (error: unknown) => {
        if (!isHotBackupError(error)) throw error
        this.refuse(error)
      },
    )
  }

  #rewind(what: 'missing' | 'damaged'): void {
    const { position } = this.#options.log
    this.#rewinds = position.txn === this.#rewoundTo ? this.#rewinds + 1 : 1
    this.#rewoundTo = position.txn
    const text = `${followingText(position)} came ${what}`
    if (this.#rewinds > rewindsMax) {
      const times = `${text} ${this.#rewinds} times; the master holds ${this.masterDurableTxn}`
      throw new HotBackupError('ERR_LINK_REFUSED', times)
    }
    this.#change('rewinding', `${text}; asking for it again`)
    this.#channel.send({ name: 'rewind', position })
    this.ackSoon()
  }

  #refused(code: HotBackupError['code'], text: string): void {
    const error = new HotBackupError(code, `"${this.#master?.serverName}" refuses: ${text}`)
    this.#channel.destroy(error)
    this.#ended(error)
  }
}

function sameProgress(a: Progress, b: Progress): boolean {
  return (
    a.receivedTxn === b.receivedTxn &&
    a.durable.txn === b.durable.txn &&
    a.appliedTxn === b.appliedTxn &&
    a.appliedTime === b.appliedTime &&
    a.applying === b.applying
  )
}
