// One call of a command: who calls, with what, and where the reply goes. The same object serves all calls, one after
// the other: what a handler needs after it has waited for something, it takes out before.
import type { Access, DirectAccess } from './access.ts'
import { Changes } from './changes.ts'
import type { Context, Opened } from './context.ts'
import type { Space } from './keyspace.ts'
import { Reply } from './reply.ts'
import { ReplyError } from './reply-error.ts'
import { Request } from './request.ts'
import type { Session } from './session.ts'

/** Writes the reply of a command that has had to wait. */
export type Answer = (reply: Reply) => void

/** Runs the commands of a transaction. */
export interface Runner {
  /** Writes the reply of one of them, whatever it is. */
  runQueued(call: Call, request: Request): void
}

export class Call {
  readonly context: Context
  readonly reply: Reply
  readonly runner: Runner
  /** For values whose number must be known before they can be written. */
  readonly scratch: Reply
  session!: Session
  request: Request = new Request()
  /** The transaction that the command is a part of; null when it is none. */
  #changes: Changes | null = null

  constructor(context: Context, reply: Reply, runner: Runner) {
    this.context = context
    this.reply = reply
    this.runner = runner
    this.scratch = new Reply(reply.bytesMax)
  }

  get opened(): Opened {
    const { opened } = this.context
    if (opened === null) throw new ReplyError(this.context.unavailable)
    return opened
  }

  get direct(): DirectAccess {
    return this.opened.direct
  }

  /** How items are read and changed. */
  get access(): Access {
    return this.#changes ?? this.opened.direct
  }

  /** It belongs to a transaction: it must not wait for anything. */
  get inTransaction(): boolean {
    return this.#changes !== null
  }

  /** The database that the client has selected. */
  get space(): Space {
    return this.opened.keyspace.space(this.session.database)
  }

  /** All changes that `work` makes are one transaction, that of the call if it is in one. */
  atomically<T>(work: () => T): T {
    if (this.#changes !== null) return work()
    const changes = new Changes(this.direct)
    this.#changes = changes
    try {
      const result = work()
      changes.commit()
      return result
    } finally {
      this.#changes = null
    }
  }
}
