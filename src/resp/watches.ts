// Keys that clients watch. The database says what changes, whoever changes it, so a watch misses nothing.
import type { Database } from '../database/database.ts'
import { RecordCursor, RecordType } from '../log/record.ts'
import type { Place } from './place.ts'

/** What one client watches. */
export class Watch {
  /** One of the keys has changed. */
  touched = false
  readonly #watches: Watches
  readonly #keys = new Set<string>()
  readonly #files: { readonly place: Place; readonly number: number; readonly txn: number }[] = []

  constructor(watches: Watches) {
    this.#watches = watches
  }

  /** The item, there or not. */
  addItem(place: Place, id: Buffer): void {
    const key = `${place.path}\n${id.toString('latin1')}`
    if (this.#keys.has(key)) return
    this.#keys.add(key)
    this.#watches.add(key, this)
  }

  /** The file with all its items. */
  addFile(place: Place): void {
    const { file } = place
    this.#files.push({ place, number: file?.number ?? 0, txn: file?.lastTxn ?? 0 })
  }

  get changed(): boolean {
    return (
      this.touched ||
      this.#files.some(({ place, number, txn }) => {
        const { file } = place
        return (file?.number ?? 0) !== number || (file?.lastTxn ?? 0) !== txn
      })
    )
  }

  end(): void {
    for (const key of this.#keys) this.#watches.remove(key, this)
    this.#keys.clear()
  }
}

/** All of them. */
export class Watches {
  readonly #database: Database
  readonly #byKey = new Map<string, Set<Watch>>()
  readonly #cursor = new RecordCursor()

  constructor(database: Database) {
    this.#database = database
  }

  add(key: string, watch: Watch): void {
    const watching = this.#byKey.get(key)
    if (watching !== undefined) watching.add(watch)
    else this.#byKey.set(key, new Set([watch]))
    if (this.#byKey.size === 1) {
      this.#database.onApplied((bytes, start, end) => this.#note(bytes, start, end))
    }
  }

  remove(key: string, watch: Watch): void {
    const watching = this.#byKey.get(key)
    if (watching === undefined) return
    watching.delete(watch)
    if (watching.size > 0) return
    this.#byKey.delete(key)
    if (this.#byKey.size === 0) this.#database.onApplied(null)
  }

  /** The records of a transaction that has been applied. */
  #note(bytes: Uint8Array, start: number, end: number): void {
    const cursor = this.#cursor
    cursor.reset(bytes, start, end)
    while (cursor.next()) {
      const file = this.#database.fileByNumber(cursor.fileNumber)
      const path = file === undefined ? null : `${file.account}/${file.name}`
      switch (cursor.type) {
        case RecordType.writeItem:
        case RecordType.deleteItem: {
          if (path === null) continue
          const id = Buffer.from(
            bytes.buffer,
            bytes.byteOffset + cursor.idStart,
            cursor.idEnd - cursor.idStart,
          )
          this.#touch(`${path}\n${id.toString('latin1')}`)
          break
        }
        case RecordType.clearFile:
        case RecordType.clearGroup:
        case RecordType.deleteFile:
        case RecordType.setFile:
          this.#touchFile(path)
          break
        default:
          break
      }
    }
  }

  #touch(key: string): void {
    const watching = this.#byKey.get(key)
    if (watching !== undefined) for (const watch of watching) watch.touched = true
  }

  /** All items of the file; of all files when it is not known any more. */
  #touchFile(path: string | null): void {
    for (const [key, watching] of this.#byKey) {
      if (path !== null && !key.startsWith(`${path}\n`)) continue
      for (const watch of watching) watch.touched = true
    }
  }
}
