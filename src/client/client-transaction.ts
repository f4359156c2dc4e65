// A transaction of a program that is not the server: reads come from the server as they stand, changes gather here, and
// the server makes them together if everything that was read is still so.
import type { Change } from '../data/packed-commits.ts'
import { HotBackupError } from '../errors.ts'
import type { Bytes } from '../log/record.ts'
import { checkBytes } from '../updates/arguments.ts'
import { bytesOf, ClientFile, deleted, expectation, written } from './client-files.ts'

/** Several updates that happen together or not at all. Only usable while the function that got it runs. */
export class ClientTransaction {
  /** What the server has answered, by item: a second read sees the same. Null: no such item. */
  readonly #seen = new Map<string, { readonly expected: Change; readonly value: Buffer | null }>()
  /** By item; a later change of the same item replaces the earlier one. */
  readonly #changes = new Map<string, Change>()
  #closed = false

  /** The item as it stands inside this transaction; null when there is none. */
  async read(file: ClientFile, id: Bytes): Promise<Buffer | null> {
    this.#check(file)
    checkBytes('an item-id', id)
    const bytes = bytesOf(id)
    const key = keyOf(file, bytes)
    const change = this.#changes.get(key)
    if (change !== undefined) return change.kind === 'write' ? Buffer.from(change.value) : null
    let seen = this.#seen.get(key)
    if (seen === undefined) {
      const value = await file.read(bytes)
      seen = this.#seen.get(key) ?? { expected: expectation(file, bytes, value), value }
      this.#seen.set(key, seen)
    }
    return seen.value === null ? null : Buffer.from(seen.value)
  }

  write(file: ClientFile, id: Bytes, value: Bytes): void {
    this.#check(file)
    this.#change(file, written(file, id, value))
  }

  /** Resolves with false when there was no such item. */
  async delete(file: ClientFile, id: Bytes): Promise<boolean> {
    if ((await this.read(file, id)) === null) return false
    this.#change(file, deleted(file, id))
    return true
  }

  /** The function has ended: what the server is to check and to do. */
  close(): Change[] {
    this.#closed = true
    return [...[...this.#seen.values()].map(({ expected }) => expected), ...this.#changes.values()]
  }

  #change(file: ClientFile, change: Change): void {
    this.#changes.set(keyOf(file, change.id), change)
  }

  #check(file: ClientFile): void {
    if (this.#closed) throw new TypeError('the transaction is over')
    if (file instanceof ClientFile) return
    throw new TypeError('this transaction works on files of a connected client')
  }
}

function keyOf({ account, name }: ClientFile, id: Buffer): string {
  return JSON.stringify([account, name, id.toString('latin1')])
}

export function conflict(attempts: number): HotBackupError {
  const message = `the transaction was tried ${attempts} times, and each time an item that it had read was changed meanwhile`
  return new HotBackupError('ERR_CONFLICT', message)
}
