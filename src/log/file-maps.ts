// Which files the segment being written has said the names of: the first use of a number in a segment comes with a
// map-file record, so that each segment can be read alone.
import type { FileAttributes } from './file-attributes.ts'
import type { RecordEncoder } from './record.ts'

export class FileMaps {
  readonly #mapped = new Set<number>()
  /** Those of the transaction that has begun: taken back with it. */
  readonly #mappedNow: number[] = []

  /** A transaction begins. */
  begin(): void {
    this.#mappedNow.length = 0
  }

  /** The transaction is taken back. */
  abandon(): void {
    for (const fileNumber of this.#mappedNow) this.#mapped.delete(fileNumber)
    this.#mappedNow.length = 0
  }

  /** A segment begins. */
  clear(): void {
    this.#mapped.clear()
    this.#mappedNow.length = 0
  }

  /** Writes a map-file record unless the segment has said what the number stands for. */
  ensure(fileNumber: number, attributes: FileAttributes, encoder: RecordEncoder): void {
    if (this.#mapped.has(fileNumber)) return
    encoder.mapFile(fileNumber, attributes)
    this.mark(fileNumber)
  }

  /** A record of another type says it. */
  mark(fileNumber: number): void {
    this.#mapped.add(fileNumber)
    this.#mappedNow.push(fileNumber)
  }
}
