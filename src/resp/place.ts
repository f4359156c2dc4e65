// Where items are: a file, by name. It may not be there yet, and may come and go.
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { moduloDefault } from '../limits.ts'

/** Of strings; a hash without a slash; a file that is somebody's. */
export type PlaceKind = 'strings' | 'fleeting' | 'owned'

export class Place {
  readonly account: string
  readonly name: string
  /** Account and file with a slash, which no name has. */
  readonly path: string
  /** There is such a file only as long as it holds something. */
  readonly fleeting: boolean
  /** What the file has when it is created; it grows with what it holds unless it is its owner's. */
  readonly modulo: number
  readonly grows: boolean
  readonly #database: Database
  #found: HashedFile | undefined

  constructor(database: Database, account: string, name: string, kind: PlaceKind) {
    this.fleeting = kind === 'fleeting'
    this.grows = kind !== 'owned'
    this.modulo = kind === 'fleeting' ? 1 : moduloDefault
    this.#database = database
    this.account = account
    this.name = name
    this.path = `${account}/${name}`
  }

  /** The file as it is now; undefined when there is none. */
  get file(): HashedFile | undefined {
    const found = this.#found
    if (found !== undefined && !found.deleted) return found
    return (this.#found = this.#database.file(this.account, this.name))
  }
}
