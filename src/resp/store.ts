// What the commands work on: the database of a server, and, on a master, the way in which it changes. All of it is
// synchronous but for the waiting, so that a whole socket read is handled in one turn of the event loop.
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import type { LogView } from './feed.ts'

export interface Store {
  readonly database: Database
  /** The last transaction that is durable here. */
  readonly durableTxn: number
  /** Resolves when everything that readers can see now is durable. */
  settled(): Promise<void>
  /** Null on a slave. */
  readonly writes: Writes | null
  /** Null on a slave. */
  readonly followers: Followers | null
  /** Null on a slave. */
  readonly names: Names | null
  readonly log: LogView
  facts(): StoreFacts
}

/** Changes of accounts and files as such. Each resolves when it is durable; errors as in the catalogue. */
export interface Names {
  createAccount(account: string): Promise<void>
  /** Resolves with what was removed. */
  deleteAccount(account: string): Promise<{ readonly files: number }>
  createFile(account: string, file: string, modulo: number, local: boolean): Promise<void>
  deleteFile(account: string, file: string): Promise<{ readonly items: number }>
  clearFile(account: string, file: string): Promise<{ readonly items: number }>
  resizeFile(account: string, file: string, modulo: number): Promise<void>
}

/** How far the slaves have confirmed that they are. */
export interface Followers {
  /** Slaves that have got as far as `txn`. */
  count(txn: number, level: FollowLevel): number
  /** Resolves with that number when it is `wanted` or more, or after the time-out (null: never). */
  reaching(
    txn: number,
    level: FollowLevel,
    wanted: number,
    timeoutMs: number | null,
  ): Promise<number>
}
export type FollowLevel = 'durable' | 'applied'

/** What is known of the server, for INFO and ROLE. */
export interface StoreFacts {
  /** The last transaction, and the first one that the log holds. */
  readonly lastTxn: number
  readonly firstTxn: number
  /** Readers see everything up to here. */
  readonly appliedTxn: number
  /** The database files hold everything up to here. */
  readonly checkpointTxn: number
  readonly timeline: number
  /** In hexadecimal. */
  readonly databaseId: string
  /** Why the server takes no updates; null while it does. */
  readonly failure: string | null
  /** Of a slave: its master, as far as it is known. */
  readonly master: { readonly name: string; readonly connected: boolean } | null
  /** Slaves in hb.toml, and how far they are; null: it is not known now. */
  readonly slaves: readonly {
    readonly name: string
    readonly host: string
    readonly port: number
    readonly appliedTxn: number | null
  }[]
}

/** What a transaction makes of one file. */
export interface FileChange {
  readonly account: string
  readonly name: string
  /** Undefined: the transaction creates it, and its account where there is none. */
  readonly file: HashedFile | undefined
  /** Of a file that is created. */
  readonly modulo: number
  /** Everything that was in it before goes. */
  readonly cleared: boolean
  /** The file itself goes. */
  readonly removed: boolean
  readonly items: Iterable<ItemChange>
}

export interface ItemChange {
  readonly id: Buffer
  /** Null: deleted. */
  readonly value: Buffer | null
}

/**
 * Each update throws, and nothing has happened then, or is applied when it returns: ERR_ITEM_ID, ERR_ITEM_SIZE,
 * ERR_DISK_FULL, ERR_STOPPED, ERR_FENCED and the like. Nobody may update while `crowded`.
 */
export interface Writes {
  /** Too much is under way, or somebody has the database to himself. */
  readonly crowded: boolean
  /** Resolves when that may be over. */
  room(): Promise<void>
  /** The last transaction. */
  readonly lastTxn: number
  writeItem(
    file: HashedFile,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void
  deleteItem(file: HashedFile, bytes: Uint8Array, idStart: number, idEnd: number): void
  /** All of it in one transaction. */
  commit(changes: Iterable<FileChange>): void
  resize(file: HashedFile, modulo: number): void
  /** Resolves when all updates so far are done at the commit level of hb.toml. */
  done(): Promise<void>
}
