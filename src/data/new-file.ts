// The file that an import creates, with a modulo that fits what comes: first a guess from what was read so far and from
// how much there is to read; a larger one while the guess proves too small; and at the end one for what there is.
import { isHotBackupError } from '../errors.ts'
import { ask, type Caller } from '../control/operation.ts'
import { listFiles } from './data-access.ts'
import { updateOperations } from './data-operations.ts'
import { Load } from './fitting-modulo.ts'

/** A modulo may be off by this factor: a group then has two frames, or is half empty. */
const tolerance = 2
/** Of an input whose length is not known, so many times what has come is expected. */
const growth = 8

/** How far the input has been read. */
export interface InputPosition {
  /** Null: not known, as of a pipe. */
  readonly bytes: number | null
  readonly taken: number
}

export class NewFile {
  readonly load = new Load()
  readonly #data: Caller
  readonly #account: string
  readonly #file: string
  readonly #position: () => InputPosition
  /** Records that have been read; more than `load` has, in the middle of some. */
  #records = 0
  #ended = false
  /** 0: not made yet, or there before. */
  #modulo = 0
  #made = false

  constructor(data: Caller, account: string, file: string, position: () => InputPosition) {
    this.#data = data
    this.#account = account
    this.#file = file
    this.#position = position
  }

  taken(records: readonly unknown[]): void {
    this.#records += records.length
  }

  /** There is no more to come. */
  ended(): void {
    this.#ended = true
  }

  /** A file that is there is left as it is. */
  async make(): Promise<void> {
    if (this.#made) return
    this.#made = true
    const modulo = this.load.modulo(this.#expected(1))
    const [account, file] = [this.#account, this.#file]
    const { createAccount, createFile } = updateOperations
    await unlessThere(ask(this.#data, createAccount, { account }))
    const request = { account, file, modulo, local: false }
    const created = await unlessThere(ask(this.#data, createFile, request))
    if (created) this.#modulo = modulo
  }

  /** When the guess was too small. */
  async grow(): Promise<void> {
    if (this.#modulo === 0 || this.load.modulo(1) <= this.#modulo * tolerance) return
    await this.#resize(this.load.modulo(this.#expected(growth)))
  }

  /** All items are in the file. */
  async fit(): Promise<void> {
    if (this.#modulo === 0) return
    const files = await listFiles(this.#data, this.#account)
    const items = files.find(({ file }) => file === this.#file)?.items ?? 0
    // Of items that came several times there is one.
    const modulo = this.load.modulo(this.load.items === 0 ? 1 : items / this.load.items)
    const fits = modulo <= this.#modulo * tolerance && this.#modulo <= modulo * tolerance
    if (!fits) await this.#resize(modulo)
  }

  async #resize(modulo: number): Promise<void> {
    this.#modulo = modulo
    const file = { account: this.#account, file: this.#file }
    await ask(this.#data, updateOperations.resizeFile, { ...file, modulo })
  }

  /** How many times the items so far there will be. */
  #expected(unknown: number): number {
    const { bytes, taken } = this.#position()
    const read = this.load.items === 0 ? 1 : Math.max(1, this.#records / this.load.items)
    if (this.#ended) return read
    return bytes === null || taken === 0 ? read * unknown : Math.max(read, (read * bytes) / taken)
  }
}

/** False when it was there. */
async function unlessThere(creating: Promise<unknown>): Promise<boolean> {
  try {
    await creating
    return true
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_EXISTS')) throw error
    return false
  }
}
