// The names: which accounts there are, which files they hold, and which number stands for which file. In
// memory as a whole; the catalog is its durable form.
import { type HashedFile } from './hashed-file.ts'

export class Accounts {
  readonly #files = new Map<string, Map<string, HashedFile>>()
  readonly #byNumber = new Map<number, HashedFile>()
  /** The file that was looked up last: updates come in runs. */
  #recent: HashedFile | undefined
  /** No number from here on has been used. */
  nextFileNumber = 1
  nextGeneration = 1

  /** In the order of their UTF-16 units, as are files. */
  names(): string[] {
    return [...this.#files.keys()].sort()
  }

  has(account: string): boolean {
    return this.#files.has(account)
  }

  files(account: string): HashedFile[] {
    const files = this.#files.get(account)
    if (files === undefined) return []
    return [...files.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  allFiles(): Iterable<HashedFile> {
    return this.#byNumber.values()
  }

  fileCount(account: string): number {
    return this.#files.get(account)?.size ?? 0
  }

  file(account: string, name: string): HashedFile | undefined {
    return this.#files.get(account)?.get(name)
  }

  byNumber(number: number): HashedFile | undefined {
    const recent = this.#recent
    if (recent !== undefined && recent.number === number) return recent
    const file = this.#byNumber.get(number)
    if (file !== undefined) this.#recent = file
    return file
  }

  add(account: string): void {
    this.#files.set(account, new Map())
  }

  remove(account: string): void {
    this.#files.delete(account)
  }

  addFile(file: HashedFile): void {
    this.#files.get(file.account)!.set(file.name, file)
    this.#byNumber.set(file.number, file)
    if (this.nextFileNumber <= file.number) this.nextFileNumber = file.number + 1
  }

  removeFile(file: HashedFile): void {
    this.#files.get(file.account)!.delete(file.name)
    this.#byNumber.delete(file.number)
    this.#recent = undefined
  }
}
