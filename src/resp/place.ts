// Where items are: a file, by name. It may not be there yet, and may come and go.
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'

export class Place {
  readonly account: string
  readonly name: string
  /** Account and file with a slash, which no name has. */
  readonly path: string
  /** There is such a file only as long as it holds something. */
  readonly fleeting: boolean
  readonly #database: Database
  #found: HashedFile | undefined

  constructor(database: Database, account: string, name: string, fleeting = false) {
    this.fleeting = fleeting
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
