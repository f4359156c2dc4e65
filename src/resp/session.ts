// What a server knows of one client: who it is, what it has chosen, and the transaction that it is putting together.
import type { Protocol } from './reply.ts'
import type { Request } from './request.ts'
import { everybody, type User } from './user.ts'
import type { Watch } from './watches.ts'

/** The connection of a session, as commands see it. */
export interface Link {
  readonly remoteAddress: string
  readonly localAddress: string
  /** Bytes of requests that are not complete, and of replies that have not left. */
  readonly inputBytes: number
  readonly outputBytes: number
  /** Closes it: at once, or when its replies have left. */
  close(politely: boolean): void
}

/** Requests between MULTI and EXEC. */
export interface Queue {
  readonly requests: Request[]
  bytes: number
  /** One of them was refused: EXEC refuses all. */
  refused: boolean
}

export class Session {
  readonly id: number
  readonly link: Link
  /** By the monotonic clock. */
  readonly since: number
  lastActive: number
  name = ''
  library = ''
  libraryVersion = ''
  protocol: Protocol = 2
  /** The number of its database. */
  database = 0
  user: User = everybody
  /** Nobody knows yet who it is, so it may only log in. */
  stranger: boolean
  queue: Queue | null = null
  watch: Watch | null = null
  /** Its last command in lower case. */
  lastCommand = ''
  /** The transaction of its last write. */
  lastTxn = 0
  /** Replies are left out: of all commands, or of the next one. */
  replies: 'on' | 'off' | 'skip' | 'skip next' = 'on'
  /** It waits for something: a log entry, or slaves. */
  blocked: Blocked | null = null
  noEvict = false
  noTouch = false

  constructor(id: number, link: Link, now: number, stranger: boolean) {
    this.id = id
    this.link = link
    this.since = now
    this.lastActive = now
    this.stranger = stranger
  }
}

export interface Blocked {
  /** Ends the waiting as a time-out would, or with an error. */
  unblock(error: string | null): void
}
