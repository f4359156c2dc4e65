// Accounts and files as objects: handles by name, which hold nothing themselves. A handle stays good as long as
// its account or file exists; after that its methods fail with ERR_NO_ACCOUNT or ERR_NO_FILE.
import type { CommitLevel } from '../config/policies.ts'
import { CountedScan } from '../database/counted-scan.ts'
import type { Database } from '../database/database.ts'
import { copying } from '../database/group-walk.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { moduloDefault } from '../limits.ts'
import type { Bytes } from '../log/record.ts'
import { checkBytes, checkOptions, checkType } from './arguments.ts'
import type { Updates } from './updates.ts'

/** Items that an iteration takes at once before it lets others run. */
const scanItems = 256

/** How the objects of one master get at its insides. */
export const stored = Symbol('stored')

export interface Item {
  /** The item-id's bytes. */
  readonly id: Buffer
  readonly value: Buffer
}

export interface UpdateOptions {
  /**
   * How far the update must have got before it is done: "local" (durable here), or also "received", "durable" or
   * "applied" on as many slaves as hb.toml says. By default the level in hb.toml.
   */
  readonly level?: CommitLevel
}

export interface CreateFileOptions {
  /** Groups of the file, 1 to 67,108,864; best a prime about the number of items divided by 20. Default 101. */
  readonly modulo?: number
  /** The file stays on this master: its updates are logged for recovery, and slaves leave them out. */
  readonly local?: boolean
}

/** An account holds files. */
export class Account {
  readonly name: string
  readonly #database: Database
  readonly #updates: Updates

  constructor(name: string, database: Database, updates: Updates) {
    this.name = name
    this.#database = database
    this.#updates = updates
  }

  /** The file of that name. Throws ERR_NO_ACCOUNT, ERR_NO_FILE. */
  file(name: string): File {
    findFile(this.#database, this.name, name)
    return new File(this.name, name, this.#database, this.#updates)
  }

  /** Names of the files, sorted. Throws ERR_NO_ACCOUNT. */
  files(): string[] {
    checkAccount(this.#database, this.name)
    return this.#database.files(this.name).map(file => file.name)
  }

  /** Creates a file; resolves when that is durable. Errors: ERR_NAME, ERR_MODULO, ERR_EXISTS, ERR_NO_ACCOUNT. */
  async createFile(name: string, options: CreateFileOptions = {}): Promise<File> {
    checkOptions(options)
    checkAccount(this.#database, this.name)
    const { modulo = moduloDefault, local = false } = options
    checkType('"local"', 'boolean', local)
    await this.#updates.createFile(this.name, name, modulo, local)
    // Not looked up: it was created, and may have been deleted again.
    return new File(this.name, name, this.#database, this.#updates)
  }

  /**
   * The file of that name, created with these options if there is none; resolves when it is durable. Of a file that
   * exists nothing is changed. Errors: ERR_NAME, ERR_MODULO, ERR_NO_ACCOUNT.
   */
  async openFile(name: string, options: CreateFileOptions = {}): Promise<File> {
    await created(this.createFile(name, options), this.#updates)
    return new File(this.name, name, this.#database, this.#updates)
  }

  /** Deletes a file with its items; resolves when that is durable. Errors: ERR_NO_ACCOUNT, ERR_NO_FILE. */
  async deleteFile(name: string): Promise<void> {
    await this.#updates.deleteFile(findFile(this.#database, this.name, name))
  }
}

/** A file holds items: item-ids of 1 to 1,024 bytes, each with up to 64 MiB of bytes. Text is taken as UTF-8. */
export class File {
  readonly account: string
  readonly name: string
  readonly #database: Database
  readonly #updates: Updates
  #found: HashedFile | undefined

  constructor(account: string, name: string, database: Database, updates: Updates) {
    this.account = account
    this.name = name
    this.#database = database
    this.#updates = updates
  }

  /** Groups that the items are spread over. */
  get modulo(): number {
    return this[stored].modulo
  }

  get itemCount(): number {
    return this[stored].itemCount
  }

  /**
   * The item's bytes, the caller's own; null when there is no such item. What it returns is durable: a read of
   * something that was written a moment ago waits for that write.
   */
  read(id: Bytes): Promise<Buffer | null> {
    return this.#settled(id, file => file.read(id))
  }

  has(id: Bytes): Promise<boolean> {
    return this.#settled(id, file => file.has(id))
  }

  /**
   * Writes an item, new or not. Resolves when it is durable; updates take effect in the order of the calls,
   * awaited or not. The bytes are copied before this returns, unless too much is under way (then it waits, and the
   * caller must not change them until the promise resolves).
   * Errors: ERR_ITEM_ID, ERR_ITEM_SIZE, ERR_NO_FILE, ERR_STOPPED (the disk failed), ERR_CLOSED; with a level other
   * than "local" also ERR_NO_SLAVE, and ERR_UNCONFIRMED when the master is closed before the slaves have answered.
   */
  write(id: Bytes, value: Bytes, options?: UpdateOptions): Promise<void> {
    try {
      checkOptions(options)
      return this.#updates.writeItem(this[stored], id, value, options?.level)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  /** Deletes an item. Resolves, when that is durable, with false if there was none. Errors as for write. */
  async delete(id: Bytes, options?: UpdateOptions): Promise<boolean> {
    checkOptions(options)
    return this.#updates.deleteItem(this[stored], id, options?.level)
  }

  /** Deletes all items; resolves when that is durable. */
  async clear(): Promise<void> {
    await this.#updates.clearFile(this[stored])
  }

  /** Spreads the items over another number of groups; resolves when that is durable. Errors: ERR_MODULO. */
  async resize(modulo: number): Promise<void> {
    await this.#updates.resizeFile(this[stored], modulo)
  }

  /**
   * Keeps the file on this master alone, or not; resolves when that is durable here. Slaves remove a file that
   * becomes local. One that becomes replicated is written into the log again in the background; see Master.filled.
   */
  async setLocal(local: boolean): Promise<void> {
    checkType('"local"', 'boolean', local)
    await this.#updates.setLocal(this[stored], local)
  }

  /**
   * All items, in no order that means anything. Updates go on meanwhile: an item that is there from beginning to
   * end comes exactly once; one that is written or deleted meanwhile comes or not. Memory stays small.
   */
  async *items(): AsyncGenerator<Item, void, undefined> {
    const file = this[stored]
    const scan = new CountedScan(file)
    try {
      for (let more = true; more;) {
        if (this[stored] !== file) throw goneFile(file)
        const batch: Item[] = []
        more = scan.next(
          scanItems,
          copying((id, value) => batch.push({ id, value })),
        )
        await this.#updates.settledFile(file)
        yield* batch
      }
    } finally {
      scan.end()
    }
  }

  /** What `look` sees now, as soon as it is durable. Nearly always it is, and then nothing is waited for. */
  #settled<T>(id: Bytes, look: (file: HashedFile) => T): Promise<T> {
    try {
      checkBytes('an item-id', id)
      const file = this[stored]
      const seen = look(file)
      if (this.#updates.isSettled(file)) return Promise.resolve(seen)
      return this.#updates.settledFile(file).then(() => seen)
    } catch (error) {
      return Promise.reject(error as Error)
    }
  }

  get [stored](): HashedFile {
    const found = this.#found
    if (found !== undefined && this.#database.fileByNumber(found.number) === found) return found
    return (this.#found = findFile(this.#database, this.account, this.name))
  }
}

/** Resolves when what is created is durable, be it now or before. */
export async function created(creating: Promise<unknown>, updates: Updates): Promise<void> {
  try {
    await creating
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_EXISTS')) throw error
    await updates.settled()
  }
}

export function checkAccount(database: Database, account: string): void {
  checkType('the name of an account', 'string', account)
  if (!database.hasAccount(account)) {
    throw new HotBackupError('ERR_NO_ACCOUNT', `there is no account ${account}`, { account })
  }
}

export function findFile(database: Database, account: string, file: string): HashedFile {
  checkType('the name of a file', 'string', file)
  const found = database.file(account, file)
  if (found !== undefined) return found
  checkAccount(database, account)
  throw new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${file}`, { account, file })
}

export function goneFile({ account, name }: HashedFile): HotBackupError {
  const message = `file ${account} ${name} has been deleted meanwhile`
  return new HotBackupError('ERR_NO_FILE', message, { account, file: name })
}
