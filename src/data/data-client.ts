// The data commands as methods, whoever carries them out: this process or the owner of the server.
import type { FramePlace } from '../database/scrub.ts'
import { HotBackupError } from '../errors.ts'
import type { FlagWord } from '../log/file-flags.ts'
import type { Platform } from '../platform/platform.ts'
import type { GroupRange } from '../wire/messages/mend.ts'
import type { Removed } from '../updates/updates.ts'
import type { JsonObject } from '../control/frames.ts'
import type { Message } from './operations.ts'
import { unpackItems, type PackedItem } from './packed-items.ts'

/** Carries out an operation (see operations.ts) and gives the parts of its answer. */
export type Carrier = (
  operation: string,
  args: JsonObject,
  body?: Uint8Array,
) => AsyncIterable<Message>

export interface AccountRow {
  readonly account: string
  readonly files: number
}

export interface FileRow {
  readonly file: string
  readonly modulo: number
  readonly items: number
  /** Why it is not replicated, or not as a whole; not there when it is. */
  readonly flags?: readonly FlagWord[]
}

/** What a pass has written. */
export interface VerifiedPass {
  readonly firstTxn: number
  readonly lastTxn: number
  readonly files: number
  readonly items: number
}

/** Runs `work` with the data of the server in `directory`, whatever state it is in (server/sessions.ts). */
export type DataAccess = <T>(
  platform: Platform,
  directory: string,
  mode: 'read' | 'write',
  work: (data: DataClient) => Promise<T>,
) => Promise<T>

export class DataClient {
  readonly #carry: Carrier

  constructor(carry: Carrier) {
    this.#carry = carry
  }

  async createAccount(account: string): Promise<void> {
    await this.#one('create-account', { account })
  }

  async deleteAccount(account: string): Promise<Removed> {
    return this.#remove('delete-account', { account })
  }

  /** `local`: it stays on the master alone. */
  async createFile(account: string, file: string, modulo: number, local = false): Promise<void> {
    await this.#one('create-file', { account, file, modulo, local })
  }

  /** Resolves when a file that becomes replicated has been written into the log as a whole. */
  async setLocal(account: string, file: string, local: boolean): Promise<void> {
    await this.#one('set-file', { account, file, local })
  }

  /** Whether the file is replicated. `absent`: it is not here because it is not. */
  async fileFlags(
    account: string,
    file: string,
  ): Promise<{ readonly flags: readonly FlagWord[]; readonly absent: boolean }> {
    const { header } = await this.#one('file-flags', { account, file })
    return { flags: header['flags'] as unknown as FlagWord[], absent: header['absent'] === true }
  }

  async deleteFile(account: string, file: string): Promise<Removed> {
    return this.#remove('delete-file', { account, file })
  }

  async clearFile(account: string, file: string): Promise<Removed> {
    return this.#remove('clear-file', { account, file })
  }

  async resizeFile(account: string, file: string, modulo: number): Promise<void> {
    await this.#one('resize-file', { account, file, modulo })
  }

  /** `items` are packed (see packed-items.ts), about 1 MiB at once. Resolves when they are durable. */
  async writeItems(account: string, file: string, items: Uint8Array): Promise<void> {
    await this.#one('write-items', { account, file }, items)
  }

  /** Throws ERR_NO_ITEM when there is none. */
  async deleteItem(account: string, file: string, id: Uint8Array): Promise<void> {
    await this.#one('delete-item', { account, file }, id)
  }

  /** Throws ERR_NO_ITEM when there is none. */
  async readItem(account: string, file: string, id: Uint8Array): Promise<Uint8Array> {
    return (await this.#one('read-item', { account, file }, id)).body ?? new Uint8Array()
  }

  async fileExists(account: string, file: string): Promise<boolean> {
    return (await this.#one('file-exists', { account, file })).header['exists'] === true
  }

  async accounts(): Promise<AccountRow[]> {
    return this.#rows('list-accounts', 'accounts', {})
  }

  async files(account: string): Promise<FileRow[]> {
    return this.#rows('list-files', 'files', { account })
  }

  /**
   * SHA-256 of the content, in hexadecimal: of a file, an account (null `file`) or everything (null `account`).
   * Throws ERR_DATABASE_CHANGED when it is changed all the while.
   */
  async digest(
    account: string | null,
    file: string | null,
    progressed: (slices: number) => void,
  ): Promise<string> {
    const args = { account: account ?? undefined, file: file ?? undefined }
    for await (const { header } of this.#carry('digest', args)) {
      if (typeof header['digest'] === 'string') return header['digest']
      progressed(Number(header['slices']))
    }
    throw new HotBackupError('ERR_WIRE', 'digest was not answered')
  }

  /** Writes into the log what is there, for the slaves to compare; see verify-operations.ts. */
  async verifyPass(
    account: string | null,
    file: string | null,
    progressed: (itemsDone: number, itemsTotal: number) => void,
  ): Promise<VerifiedPass> {
    const args = { account: account ?? undefined, file: file ?? undefined }
    for await (const { header } of this.#carry('verify-pass', args)) {
      if (header['lastTxn'] !== undefined) return header as unknown as VerifiedPass
      progressed(Number(header['itemsDone']), Number(header['itemsTotal']))
    }
    throw new HotBackupError('ERR_WIRE', 'verify-pass was not answered')
  }

  /** The same of the items with these hashes, one by one. Resolves with the last transaction, 0 for none. */
  async verifyItems(
    account: string,
    file: string,
    ranges: readonly (readonly [number, number])[],
  ): Promise<number> {
    const { header } = await this.#one('verify-items', { account, file, ranges })
    return Number(header['lastTxn'])
  }

  /** Writes the items again as they are here, or deletes them. `ids` are packed, without values. */
  async verifyRepair(account: string, file: string, ids: Uint8Array): Promise<void> {
    await this.#one('verify-repair', { account, file }, ids)
  }

  /** Writes a group into the log again, for a slave whose own is damaged. Resolves with the last transaction. */
  async mendGroup({ fileNumber, from, to }: GroupRange): Promise<number> {
    const { header } = await this.#one('mend-group', { fileNumber, from, to })
    return Number(header['txn'])
  }

  /** Has frames mended that are damaged on the disk. Resolves with what is not mended yet; null when all is durable. */
  async mendFrames(places: readonly FramePlace[]): Promise<string | null> {
    const frames = places.map(place => [place.fileNumber, place.generation, place.frame])
    const { header } = await this.#one('mend-frames', { frames })
    return typeof header['left'] === 'string' ? header['left'] : null
  }

  /** The item-ids, in no order that means anything. */
  async *itemIds(account: string, file: string): AsyncGenerator<Buffer, void, undefined> {
    for await (const { id } of this.#items('list-items', account, file)) yield id
  }

  /** All items, in no order that means anything. */
  items(account: string, file: string): AsyncGenerator<PackedItem, void, undefined> {
    return this.#items('scan-items', account, file)
  }

  async *#items(
    operation: string,
    account: string,
    file: string,
  ): AsyncGenerator<PackedItem, void, undefined> {
    for await (const { body } of this.#carry(operation, { account, file })) {
      if (body !== undefined) yield* unpackItems(asBuffer(body))
    }
  }

  async #remove(operation: string, args: JsonObject): Promise<Removed> {
    const { header } = await this.#one(operation, args)
    const [files, items, bytes] = ['files', 'items', 'bytes'].map(key => header[key])
    if (typeof files !== 'number' || typeof items !== 'number' || typeof bytes !== 'number') {
      throw new HotBackupError('ERR_WIRE', `${operation} was answered without counts`)
    }
    return { files, items, bytes }
  }

  async #rows<T>(operation: string, key: string, args: JsonObject): Promise<T[]> {
    const rows: T[] = []
    for await (const { header } of this.#carry(operation, args)) {
      rows.push(...(header[key] as unknown as T[]))
    }
    return rows
  }

  async #one(operation: string, args: JsonObject, body?: Uint8Array): Promise<Message> {
    let found: Message | null = null
    for await (const message of this.#carry(operation, args, body)) found ??= message
    if (found === null) throw new HotBackupError('ERR_WIRE', `${operation} was not answered`)
    return found
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
