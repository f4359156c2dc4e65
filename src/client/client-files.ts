// Accounts and files of a server as a program sees them from outside: handles by name, which hold nothing and ask the
// server at each call.
import type { Change } from '../data/packed-commits.ts'
import type { Bytes } from '../log/record.ts'
import { digestOf } from '../data/commit-operation.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { moduloDefault } from '../limits.ts'
import { type CreateFileOptions, type Item, type UpdateOptions } from '../updates/account.ts'
import {
  checkBytes,
  checkItem,
  checkItemId,
  checkOptions,
  checkType,
} from '../updates/arguments.ts'

/** How handles reach their server. What reads sees all that the program has written before. */
export interface Reach {
  files(account: string): Promise<readonly FileSize[]>
  readItem(account: string, file: string, id: Buffer): Promise<Buffer>
  /** In its place among the program's updates, as are the other changes of files. */
  createFile(account: string, file: string, modulo: number, local: boolean): Promise<void>
  changeFile(account: string, file: string, change: FileChange): Promise<void>
  /** For an iteration, which may take long. */
  scanning(account: string, file: string): AsyncGenerator<Item, void, undefined>
  commit(
    changes: readonly Change[],
    options: UpdateOptions | undefined,
  ): Promise<number | 'conflict'>
}

export interface FileSize {
  readonly file: string
  readonly modulo: number
  readonly items: number
}

export type FileChange =
  | { readonly what: 'delete' }
  | { readonly what: 'clear' }
  | { readonly what: 'resize'; readonly modulo: number }
  | { readonly what: 'set'; readonly local: boolean }

/** An account holds files. */
export class ClientAccount {
  readonly name: string
  readonly #reach: Reach

  constructor(name: string, reach: Reach) {
    checkType('the name of an account', 'string', name)
    this.name = name
    this.#reach = reach
  }

  /** A handle of the file of that name, there or not. */
  file(name: string): ClientFile {
    return new ClientFile(this.name, name, this.#reach)
  }

  /** Names of the files, sorted. Errors: ERR_NO_ACCOUNT. */
  async files(): Promise<string[]> {
    const rows = await this.#reach.files(this.name)
    return rows.map(({ file }) => file)
  }

  /** Creates a file; resolves when that is durable. Errors: ERR_NAME, ERR_MODULO, ERR_EXISTS, ERR_NO_ACCOUNT. */
  async createFile(name: string, options: CreateFileOptions = {}): Promise<ClientFile> {
    checkOptions(options)
    const { modulo = moduloDefault, local = false } = options
    checkType('a modulo', 'number', modulo)
    checkType('"local"', 'boolean', local)
    const file = this.file(name)
    await this.#reach.createFile(this.name, name, modulo, local)
    return file
  }

  /**
   * The file of that name, created with these options if there is none. Errors: ERR_NAME, ERR_MODULO, ERR_NO_ACCOUNT.
   */
  async openFile(name: string, options: CreateFileOptions = {}): Promise<ClientFile> {
    await created(this.createFile(name, options))
    return this.file(name)
  }

  /** Deletes a file with its items; resolves when that is durable. Errors: ERR_NO_ACCOUNT, ERR_NO_FILE. */
  async deleteFile(name: string): Promise<void> {
    await this.#reach.changeFile(this.name, name, { what: 'delete' })
  }
}

/** A file holds items: item-ids of 1 to 1,024 bytes, each with up to 64 MiB of bytes. Text is taken as UTF-8. */
export class ClientFile {
  readonly account: string
  readonly name: string
  readonly #reach: Reach

  constructor(account: string, name: string, reach: Reach) {
    checkType('the name of a file', 'string', name)
    this.account = account
    this.name = name
    this.#reach = reach
  }

  /** Groups that the items are spread over, and how many items there are. Errors: ERR_NO_ACCOUNT, ERR_NO_FILE. */
  async size(): Promise<{ readonly modulo: number; readonly itemCount: number }> {
    const rows = await this.#reach.files(this.account)
    const row = rows.find(({ file }) => file === this.name)
    if (row !== undefined) return { modulo: row.modulo, itemCount: row.items }
    const place = { account: this.account, file: this.name }
    throw new HotBackupError('ERR_NO_FILE', `there is no file ${this.account} ${this.name}`, place)
  }

  /** The item's bytes, which are durable; null when there is no such item. */
  async read(id: Bytes): Promise<Buffer | null> {
    checkBytes('an item-id', id)
    const bytes = bytesOf(id)
    try {
      return await this.#reach.readItem(this.account, this.name, bytes)
    } catch (error) {
      if (isHotBackupError(error, 'ERR_NO_ITEM')) return null
      throw error
    }
  }

  async has(id: Bytes): Promise<boolean> {
    return (await this.read(id)) !== null
  }

  /**
   * Writes an item, new or not. Resolves when it is durable; updates take effect in the order of the calls, awaited or
   * not. The bytes are copied before this returns. Errors: ERR_ITEM_ID, ERR_ITEM_SIZE, ERR_NO_FILE, ERR_READ_ONLY (the
   * server is a slave), ERR_OUTCOME (the server died before it answered: the update was made or not).
   */
  async write(id: Bytes, value: Bytes, options?: UpdateOptions): Promise<void> {
    await this.#reach.commit([this.#written(id, value)], checked(options))
  }

  /** Deletes an item. Resolves, when that is durable, with false if there was none. Errors as for write. */
  async delete(id: Bytes, options?: UpdateOptions): Promise<boolean> {
    const deleted = await this.#reach.commit([this.#deleted(id)], checked(options))
    return deleted === 1
  }

  /**
   * Writes `value`, or with null deletes the item, if the item is `expected` at that moment; null means that there is
   * none. Resolves with whether it was. Errors as for write.
   */
  async compareAndSet(
    id: Bytes,
    expected: Bytes | null,
    value: Bytes | null,
    options?: UpdateOptions,
  ): Promise<boolean> {
    if (expected !== null) checkBytes('an item', expected)
    const change = value === null ? this.#deleted(id) : this.#written(id, value)
    const condition = expectation(this, change.id, expected === null ? null : bytesOf(expected))
    return (await this.#reach.commit([condition, change], checked(options))) !== 'conflict'
  }

  /** Deletes all items; resolves when that is durable. */
  async clear(): Promise<void> {
    await this.#reach.changeFile(this.account, this.name, { what: 'clear' })
  }

  /** Spreads the items over another number of groups; resolves when that is durable. Errors: ERR_MODULO. */
  async resize(modulo: number): Promise<void> {
    checkType('a modulo', 'number', modulo)
    await this.#reach.changeFile(this.account, this.name, { what: 'resize', modulo })
  }

  /** Keeps the file on the master alone, or not; see File.setLocal. Resolves when the log holds all of it. */
  async setLocal(local: boolean): Promise<void> {
    checkType('"local"', 'boolean', local)
    await this.#reach.changeFile(this.account, this.name, { what: 'set', local })
  }

  /**
   * All items, in no order that means anything, as File.items gives them. A server that dies or is started again
   * meanwhile ends the iteration with ERR_CLOSED.
   */
  items(): AsyncGenerator<Item, void, undefined> {
    return this.#reach.scanning(this.account, this.name)
  }

  #written(id: Bytes, value: Bytes): Change {
    return written(this, id, value)
  }

  #deleted(id: Bytes): Change {
    return deleted(this, id)
  }
}

type Named = Pick<ClientFile, 'account' | 'name'>

export function written({ account, name }: Named, id: Bytes, value: Bytes): Change {
  checkItemId(id)
  checkItem(value)
  return { kind: 'write', account, file: name, id: bytesOf(id), value: bytesOf(value) }
}

export function deleted({ account, name }: Named, id: Bytes): Change {
  checkItemId(id)
  return { kind: 'delete', account, file: name, id: bytesOf(id), value: nothing }
}

/** That an item is as it was read. */
export function expectation({ account, name }: Named, id: Buffer, value: Buffer | null): Change {
  return value === null
    ? { kind: 'absent', account, file: name, id, value: nothing }
    : { kind: 'same', account, file: name, id, value: digestOf(value) }
}

/** A copy: the caller may change its own bytes. */
export function bytesOf(bytes: Bytes): Buffer {
  return Buffer.from(bytes)
}

/** Resolves also when what was to be created is there. */
export async function created(creating: Promise<unknown>): Promise<void> {
  try {
    await creating
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_EXISTS')) throw error
  }
}

function checked(options: UpdateOptions | undefined): UpdateOptions | undefined {
  checkOptions(options)
  return options
}

const nothing = Buffer.alloc(0)
