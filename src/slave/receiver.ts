// The slave's port: lets its master in, one at a time, and drops everybody else at little cost. The blocks that come
// are checked (receiver-intake.ts), appended to the log and acknowledged: received at once, durable when the log
// says so, applied when the replayer does.
import { HotBackupError } from '../errors.ts'
import { connectionsMax, heartbeatMsDefault, linkTimeoutMsDefault } from '../limits.ts'
import { sameIdentity } from '../log/chain.ts'
import type { PieceSource } from '../log/repair.ts'
import type { LogWriter } from '../log/writer.ts'
import {
  addressText,
  type Address,
  type Connection,
  type Listener,
  type SharedKey,
} from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import type { LinkLog } from '../wire/link-log.ts'
import type { RepairQuestions } from '../wire/repair-questions.ts'
import type { Applying } from '../wire/messages/ack.ts'
import type { DifferencesPage } from '../wire/messages/differences.ts'
import type { Hello } from '../wire/messages/hello.ts'
import type { Promote } from '../wire/messages/promote.ts'
import type { Seed } from '../wire/messages/seed.ts'
import type { SlaveStatistics } from '../wire/messages/statistics.ts'
import { positionText } from '../wire/position-text.ts'
import { wordFor, type StatusWord } from '../wire/status-words.ts'
import type { Upstream } from '../wire/upstream.ts'
import { wrongName } from '../wire/wrong-name.ts'
import { checkHello } from './receiver-handshake.ts'
import { ReceiverSession, type ReceiverSessionOptions } from './receiver-session.ts'
import type { SeedTaker } from './seed-session.ts'

export type ReceiverPlatform = Pick<Platform, 'network' | 'clock'>

export interface ReceiverOptions {
  /** This server. */
  readonly name: string
  readonly serverId: Uint8Array
  readonly key: SharedKey | null
  readonly listen: Address
  /** Only the receiver writes it. */
  readonly log: LogWriter
  readonly appliedTxn: () => number
  /** Time of the block of that transaction, by the master's clock; wall-clock milliseconds, 0 for none. */
  readonly appliedTime: () => number
  /** Whether it applies what it stores. */
  readonly applying?: () => Applying
  /** What this slave has done since its start, but for what has come over the network. */
  readonly statistics: () => Omit<SlaveStatistics, 'bytesReceived'>
  /** Bytes of this log, for a master whose own are damaged. */
  readonly piece: ReceiverSessionOptions['piece']
  /** Where this slave knows itself to be different, from some line on. */
  readonly differences: (start: number) => DifferencesPage
  /** See ReceiverSessionOptions. */
  readonly group: ReceiverSessionOptions['group']
  /** A stream has begun. */
  readonly streaming?: () => void
  readonly heartbeatMs?: number
  readonly timeoutMs?: number
  readonly logger: LinkLog
  /** A reason of the server to let no master in (it was promoted, say); null when there is none. */
  readonly refusal?: () => HotBackupError | null
  /** Why this slave is of no use without a new copy of the database, or null. */
  readonly needsCopy?: () => HotBackupError | null
  /** The servers above this one as they were last heard of, before a restart. */
  readonly upstream?: Upstream
  /** They have changed. */
  readonly upstreamChanged?: (upstream: Upstream) => void
  /** How its master makes this slave take over; without it no peer may ask for that. */
  readonly handOver?: {
    /** Why the slave cannot take over now, or null. */
    refusal(): Promise<HotBackupError | null>
    /** The master has heard that it can. */
    begin(): void
  }
  /** Takes copies of the database. */
  readonly seeds?: SeedTaker
}

export interface ReceiverStatus {
  readonly state: StatusWord
  /** HOST:PORT of the port. */
  readonly address: string
  readonly master: { readonly name: string; readonly address: string } | null
  readonly receivedTxn: number
  readonly durableTxn: number
  readonly appliedTxn: number
  /** The last durable transaction of the master, as far as it has told. */
  readonly masterDurableTxn: number
  /** From masters, since this process started. */
  readonly bytesReceived: number
  /** A copy of the master's database is on its way. */
  readonly seeding: boolean
  /** Connections that were dropped before they said a right HELLO. */
  readonly strangers: number
  /** Why the last link ended or was refused; null once a stream has started again. */
  readonly lastError: {
    readonly code: string
    readonly message: string
    readonly hint: string
  } | null
}

/** A master has been told "yes"; its connection ends, and this server begins to take over. */
interface HandingOver {
  readonly session: ReceiverSession
  readonly serverId: Uint8Array
  begun: boolean
}

export class Receiver {
  readonly #platform: ReceiverPlatform
  readonly #options: ReceiverOptions
  readonly #sessionOptions: ReceiverSessionOptions
  /** Connections that are open, also those that only have a refusal to deliver. */
  readonly #open = new Set<ReceiverSession>()
  /** Of them, those that have not said HELLO, oldest first. */
  readonly #strangers = new Set<ReceiverSession>()
  /** The one that writes the log. */
  #session: ReceiverSession | null = null
  /** The one by which the master hands over: when it is closed, the master has its answer. */
  #handingOver: HandingOver | null = null
  /** The one that brings a copy of the database. */
  #seeding: ReceiverSession | null = null
  #listener: Listener | null = null
  #stopped = false
  #upstream: Upstream
  #strangersDropped = 0
  /** Of the sessions before this one. */
  #bytesBefore = 0
  #masterDurableTxn = 0
  #lastError: HotBackupError | null = null

  private constructor(platform: ReceiverPlatform, options: ReceiverOptions) {
    this.#platform = platform
    this.#options = options
    this.#upstream = options.upstream ?? { servers: [], timeline: 0 }
    this.#sessionOptions = {
      ...options,
      statistics: () => this.statistics(),
      applying: options.applying ?? (() => 'on'),
      differences: this.#options.differences,
      heartbeatMs: options.heartbeatMs ?? heartbeatMsDefault,
      timeoutMs: options.timeoutMs ?? linkTimeoutMsDefault,
    }
    options.log.onDurable(() => this.#session?.ackSoon())
    // It calls again.
    options.log.diskRoom.onChange(lack => {
      if (lack !== null) this.#session?.refuse(lack)
    })
  }

  /** Resolves when masters can connect. Throws ERR_LISTEN. */
  static async start(platform: ReceiverPlatform, options: ReceiverOptions): Promise<Receiver> {
    const receiver = new Receiver(platform, options)
    const { timeoutMs } = receiver.#sessionOptions
    const accept = (connection: Connection) => receiver.#accept(connection)
    const wrongKey = (remoteAddress: string) => receiver.#wrongKey(remoteAddress)
    const limits = { timeoutMs, connectionsMax, wrongKey }
    const { listen, key } = options
    receiver.#listener = await platform.network.listen(listen, key, accept, limits)
    return receiver
  }

  /** The master is told that this slave needs a copy; so it is whenever it calls (see `needsCopy`). */
  askForCopy(): void {
    const error = this.#options.needsCopy?.() ?? null
    if (error !== null) this.#session?.refuse(error)
  }

  /** With the port that the system has chosen, if it was to. */
  get address(): Address {
    return this.#listener?.address ?? this.#options.listen
  }

  /** Ids of the servers above this one, the master last: a shipper to further slaves tells them, against loops. */
  get upstream(): readonly Uint8Array[] {
    return this.#upstream.servers
  }

  /** The replayer has applied more: the master hears of it at the end of this turn of the event loop. */
  ackSoon(): void {
    this.#session?.ackSoon()
  }

  status(): ReceiverStatus {
    const { log, appliedTxn } = this.#options
    const session = this.#session
    const master = session?.master ?? null
    const error = this.#lastError
    return {
      state: this.#word,
      address: addressText(this.address),
      master:
        session === null || master === null
          ? null
          : { name: master.serverName, address: session.remoteAddress },
      receivedTxn: log.lastTxn,
      durableTxn: log.durableTxn,
      appliedTxn: appliedTxn(),
      masterDurableTxn: Math.max(this.#masterDurableTxn, session?.masterDurableTxn ?? 0),
      bytesReceived: this.#bytesReceived,
      seeding: this.#seeding !== null,
      strangers: this.#strangersDropped,
      lastError:
        error === null ? null : { code: error.code, message: error.message, hint: error.hint },
    }
  }

  /** The log of the master that streams, to repair this one; null while no master can be asked. */
  get mastersLog(): PieceSource | null {
    return this.#session?.mastersLog ?? null
  }

  /** To ask the master that streams; null while there is none that can be asked. */
  get repairs(): RepairQuestions | null {
    return this.#session?.repairs ?? null
  }

  /** What this slave has done since its start. */
  statistics(): SlaveStatistics {
    return { ...this.#options.statistics(), bytesReceived: this.#bytesReceived }
  }

  get #bytesReceived(): number {
    return this.#bytesBefore + (this.#session?.bytesHeard ?? 0)
  }

  /** Hangs up and gives the port free. What was appended stays the log's to make durable. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#listener?.close()
    for (const session of this.#open) session.destroy(null)
  }

  get #word(): StatusWord {
    const session = this.#session
    if (this.#stopped) return 'Stopped'
    if (session === null) return this.#wordWithoutMaster
    if (session.state === 'welcomed') return 'Connected'
    const { log } = this.#options
    const behind = log.lastTxn < session.masterDurableTxn || log.durableTxn < log.lastTxn
    return behind || session.midMessage ? 'Reading network' : 'Idle'
  }

  get #wordWithoutMaster(): StatusWord {
    if (this.#seeding !== null) return 'Taking a copy'
    const error = this.#lastError
    const over = error?.code === 'ERR_DISK_FULL' && this.#options.log.diskRoom.lack === null
    return (error === null || over ? null : wordFor(error.code, 'slave')) ?? 'Wait incoming call'
  }

  /** Reported once: a peer calls with it again and again. A master that streams is let in by the right key. */
  #wrongKey(remoteAddress: string): void {
    if (this.#session !== null) return
    const text = `the caller at ${remoteAddress} has another key than this slave`
    if (this.#lastError?.code !== 'ERR_KEY') {
      this.#options.logger('warn', text, { code: 'ERR_KEY', address: remoteAddress })
    }
    this.#lastError = new HotBackupError('ERR_KEY', text)
  }

  #accept(connection: Connection): void {
    if (this.#stopped) {
      connection.destroy()
      return
    }
    // Idle strangers must not keep the master out.
    if (this.#strangers.size >= connectionsMax / 2) {
      const [oldest] = this.#strangers
      const text = 'it made room for a newer connection'
      oldest?.destroy(new HotBackupError('ERR_WIRE_TIMEOUT', text))
    }
    const { clock } = this.#platform
    const session = new ReceiverSession(connection, clock, this.#sessionOptions, {
      admit: hello => this.#admit(session, hello),
      promote: async request => {
        this.#strangers.delete(session)
        // What is tried takes a moment, in which the link may break or updates come: it comes first.
        const trouble = (await this.#options.handOver?.refusal()) ?? null
        const before = this.#handingOver
        const { serverId } = request
        // It may not have heard the answer, and would take a "no" for one that holds.
        const again = before?.begun === true && sameIdentity(before.serverId, serverId)
        const refusal = again ? null : this.#promote(request, trouble)
        if (refusal === null) this.#handingOver = { session, serverId, begun: again }
        else if (before?.begun !== true) this.#handingOver = null
        return refusal
      },
      seed: seed => this.#seed(session, seed),
      asked: () => {
        this.#strangers.delete(session)
      },
      streaming: () => {
        this.#lastError = null
        this.#options.streaming?.()
      },
      ended: error => this.#ended(session, error),
      closed: () => {
        this.#open.delete(session)
        if (this.#handingOver?.session !== session) return
        this.#handingOver.begun = true
        this.#options.handOver?.begin()
      },
    })
    this.#open.add(session)
    this.#strangers.add(session)
  }

  #admit(session: ReceiverSession, hello: Hello): HotBackupError | null {
    this.#strangers.delete(session)
    const refusal = this.#refusal(hello)
    if (refusal !== null) {
      this.#lastError = refusal
      return refusal
    }
    // From the same server: the old connection is dead, and this side has not noticed yet.
    this.#session?.refuse(
      new HotBackupError(
        'ERR_LINK_REFUSED',
        'a newer connection of the same server replaces this one',
      ),
    )
    this.#session = session
    const before = this.#upstream
    const path = [...hello.path, hello.serverId]
    // Whoever hands it on tells a new path by another array.
    const servers = samePath(path, before.servers) ? before.servers : path
    const timeline = Math.max(before.timeline, hello.timeline)
    if (servers === before.servers && timeline === before.timeline) return null
    this.#upstream = { servers, timeline }
    this.#options.upstreamChanged?.(this.#upstream)
    return null
  }

  /** Only the master that streams may ask for it, when this log ends where its own does. */
  #promote(
    { serverName, serverId, end }: Promote,
    trouble: HotBackupError | null,
  ): HotBackupError | null {
    const { log, handOver, appliedTxn } = this.#options
    const current = this.#session?.master ?? null
    if (current === null || !sameIdentity(current.serverId, serverId) || handOver === undefined) {
      const text = `"${serverName}" is not the master whose updates this slave takes`
      return new HotBackupError('ERR_LINK_REFUSED', text)
    }
    const { position } = log
    if (position.txn !== end.txn || position.chain !== end.chain) {
      const text = `"${serverName}" ends with ${positionText(end)}, this slave holds ${positionText(position)}`
      return new HotBackupError('ERR_LINK_REFUSED', text)
    }
    if (appliedTxn() < end.txn) {
      const text = `this slave has applied transaction ${appliedTxn()} of ${end.txn}`
      return new HotBackupError('ERR_LINK_REFUSED', text)
    }
    return trouble
  }

  #seed(session: ReceiverSession, seed: Seed): SeedTaker | HotBackupError {
    this.#strangers.delete(session)
    const { name, seeds, serverId, refusal } = this.#options
    if (seeds === undefined) {
      return new HotBackupError('ERR_LINK_REFUSED', 'this slave takes no copies')
    }
    if (sameIdentity(seed.serverId, serverId)) {
      return new HotBackupError('ERR_LINK_LOOP', 'this is the server that gives the copy')
    }
    const otherName = wrongName(seed.serverName, seed.slaveName, name)
    if (otherName !== null) return new HotBackupError('ERR_LINK_NAME', otherName)
    // What it has sent over its link since it said how much it holds, it holds as well.
    const streams = sameIdentity(this.#session?.master?.serverId ?? noId, seed.serverId)
    const held = streams ? this.#options.log.lastTxn : 0
    const durableTxn = Math.max(seed.durableTxn, held)
    const reason = refusal?.() ?? seeds.admit({ ...seed, durableTxn })
    if (reason !== null) return reason
    // The same master again: its old connection is dead.
    this.#seeding?.destroy(null)
    this.#seeding = session
    return seeds
  }

  #refusal(hello: Hello): HotBackupError | null {
    const { name, log, serverId, refusal, needsCopy } = this.#options
    if (log.failed !== null) {
      const text = `this slave cannot store updates: ${log.failed.message}`
      return new HotBackupError('ERR_STOPPED', text, {}, log.failed)
    }
    if (log.diskRoom.lack !== null) return log.diskRoom.lack
    const { identity, position } = log
    const reason =
      refusal?.() ??
      checkHello(hello, { name, serverId, identity, position }) ??
      needsCopy?.() ??
      null
    if (reason !== null) return reason
    const current = this.#session?.master ?? null
    if (current === null || sameIdentity(current.serverId, hello.serverId)) return null
    const text = `this slave is fed by "${current.serverName}" at ${this.#session?.remoteAddress}`
    return new HotBackupError('ERR_LINK_REFUSED', text)
  }

  #ended(session: ReceiverSession, error: HotBackupError | null): void {
    // A stranger is not worth an error that an operator would read.
    if (this.#strangers.delete(session)) this.#strangersDropped++
    if (this.#seeding === session) this.#seeding = null
    if (this.#session !== session) return
    this.#session = null
    this.#bytesBefore += session.bytesHeard
    this.#masterDurableTxn = session.masterDurableTxn
    if (error !== null) this.#lastError = error
  }
}

const noId = new Uint8Array()

function samePath(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return Buffer.concat(a).equals(Buffer.concat(b))
}
