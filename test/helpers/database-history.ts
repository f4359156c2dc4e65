// Histories for tests of the database: random transactions as records, with a plain Map beside them that says
// what they must lead to. A history can be replayed from any transaction, as a log can.
import fc from 'fast-check'
import { type Test } from 'tap'
import { Database } from '../../src/database/database.ts'
import type { DatabaseOptions } from '../../src/database/options.ts'
import { hashId } from '../../src/database/hash.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { type Clock } from '../../src/platform/clock.ts'
import { type Disk } from '../../src/platform/disk.ts'
import { runs } from './long-form.ts'

/** A clock on which every wait is over at the next turn of the event loop. */
export const hastyClock: Clock = {
  now: () => 0,
  monotonic: () => 0,
  nextTurn: callback => void setImmediate(callback),
  after: (_, callback) => {
    const immediate = setImmediate(callback)
    return { cancel: () => clearImmediate(immediate) }
  },
}

export const directory = '/server'
/** The smallest cache that there is: frames come and go all the time. */
export const tinyCache = 1

interface ModelFile {
  readonly number: number
  modulo: number
  /** By the id's bytes as latin1. */
  readonly items: Map<string, Buffer>
}
export type Model = Map<string, Map<string, ModelFile>>

export type Step =
  | { type: 'createAccount'; account: number }
  | { type: 'deleteAccount'; account: number }
  | { type: 'createFile'; account: number; file: number; modulo: number }
  | { type: 'clearFile' | 'deleteFile'; file: number }
  | { type: 'resizeFile'; file: number; modulo: number }
  | { type: 'writeItem'; file: number; id: number; length: number }
  | { type: 'deleteItem'; file: number; id: number }

const small = fc.nat({ max: 7 })
const modulo = fc.integer({ min: 1, max: 12 })
/** Small ones mostly; some around the border of a frame's half, some of several frames. */
const length = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 200 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1900, max: 2100 }) },
  { weight: 1, arbitrary: fc.integer({ min: 4000, max: 20_000 }) },
)
export const arbitraryStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ type: fc.constant('createAccount'), account: small }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('deleteAccount'), account: small }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('createFile'), account: small, file: small, modulo }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constantFrom('clearFile', 'deleteFile'), file: small }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('resizeFile'), file: small, modulo }) },
  {
    weight: 40,
    arbitrary: fc.record({
      type: fc.constant('writeItem'),
      file: small,
      id: fc.nat({ max: 60 }),
      length,
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      type: fc.constant('deleteItem'),
      file: small,
      id: fc.nat({ max: 60 }),
    }),
  },
)

export class History {
  readonly model: Model = new Map()
  /** The records of transaction n at index n - 1. */
  readonly transactions: Buffer[] = []
  #nextFileNumber = 1

  /** Encodes the steps as one transaction, without those that would not fit. Null when none does. */
  add(steps: readonly Step[]): Buffer | null {
    const encoder = new RecordEncoder(1024, 0)
    for (const step of steps) this.#step(encoder, step)
    if (encoder.end === 0) return null
    encoder.endTransaction()
    const bytes = Buffer.from(encoder.bytes.subarray(0, encoder.end))
    this.transactions.push(bytes)
    return bytes
  }

  get txn(): number {
    return this.transactions.length
  }

  /** Applies what the database does not have yet. */
  replay(database: Database): void {
    for (let txn = database.appliedTxn + 1; txn <= this.txn; txn++) {
      const bytes = this.transactions[txn - 1]!
      database.apply(bytes, 0, bytes.length, txn)
    }
  }

  files(): { account: string; name: string; file: ModelFile }[] {
    return [...this.model].flatMap(([account, files]) =>
      [...files].map(([name, file]) => ({ account, name, file })),
    )
  }

  /** A transaction that empties a range of hashes of a file and writes its items again; none without the file. */
  repair(fileNumber: number, from: number, to: number): void {
    const found = this.files().find(({ file }) => file.number === fileNumber)
    if (found === undefined) return
    const encoder = new RecordEncoder(1024, 0)
    encoder.clearGroup(fileNumber, from, to)
    for (const [key, value] of found.file.items) {
      const id = Buffer.from(key, 'latin1')
      const hash = hashId(id, 0, id.length)
      if (hash >= from && hash < to) encoder.writeItem(fileNumber, id, value)
    }
    encoder.endTransaction()
    this.transactions.push(Buffer.from(encoder.bytes.subarray(0, encoder.end)))
  }

  #step(encoder: RecordEncoder, step: Step): void {
    if (step.type === 'createAccount') {
      const account = `account${step.account}`
      if (this.model.has(account)) return
      this.model.set(account, new Map())
      encoder.createAccount(account)
    } else if (step.type === 'deleteAccount') {
      const account = `account${step.account}`
      if (!this.model.has(account)) return
      for (const file of this.model.get(account)!.values()) encoder.deleteFile(file.number)
      encoder.deleteAccount(account)
      this.model.delete(account)
    } else if (step.type === 'createFile') {
      const accounts = [...this.model.keys()]
      const account = accounts[step.account % accounts.length]
      const name = `file${step.file}`
      if (account === undefined || this.model.get(account)!.has(name)) return
      const number = this.#nextFileNumber++
      this.model.get(account)!.set(name, { number, modulo: step.modulo, items: new Map() })
      encoder.createFile(number, { account, file: name, modulo: step.modulo })
    } else {
      this.#fileStep(encoder, step)
    }
  }

  #fileStep(encoder: RecordEncoder, step: Exclude<Step, { account: number }>): void {
    const files = this.files()
    const found = files[step.file % files.length]
    if (found === undefined) return
    const { account, name, file } = found
    if (step.type === 'clearFile') {
      file.items.clear()
      encoder.clearFile(file.number)
    } else if (step.type === 'deleteFile') {
      this.model.get(account)!.delete(name)
      encoder.deleteFile(file.number)
    } else if (step.type === 'resizeFile') {
      file.modulo = step.modulo
      encoder.resizeFile(file.number, step.modulo)
    } else if (step.type === 'writeItem') {
      const value = valueOf(step.length, this.txn)
      file.items.set(idOf(step.id), value)
      encoder.writeItem(file.number, Buffer.from(idOf(step.id), 'latin1'), value)
    } else if (step.type === 'deleteItem') {
      file.items.delete(idOf(step.id))
      encoder.deleteItem(file.number, Buffer.from(idOf(step.id), 'latin1'))
    }
  }
}

/** Ids of all lengths, with bytes that are no UTF-8. */
export function idOf(number: number): string {
  const long = number % 13 === 12 ? '\xff'.repeat((number * 71) % 1000) : ''
  return `${String.fromCharCode(number * 4)}i${number}${long}`
}

function valueOf(length: number, salt: number): Buffer {
  const value = Buffer.alloc(length)
  for (let i = 0; i < length; i++) value[i] = (i * 7 + salt * 13) & 0xff
  return value
}

export function openDatabase(
  disk: Disk,
  options: Partial<DatabaseOptions> = {},
): Promise<Database> {
  return Database.open({ disk, clock: hastyClock }, directory, {
    cacheBytes: tinyCache,
    ...options,
  })
}

/** Says in which way the database differs from the model; null when it does not. */
export function difference(database: Database, model: Model): string | null {
  const accounts = database.accounts()
  if (accounts.join() !== [...model.keys()].sort().join()) return `accounts ${accounts.join()}`
  for (const [account, files] of model) {
    const names = database.files(account).map(file => file.name)
    if (names.join() !== [...files.keys()].sort().join())
      return `files ${names.join()} of ${account}`
    for (const [name, expected] of files) {
      const where = `${account} ${name}`
      const file = database.file(account, name)!
      if (file.number !== expected.number) return `${where} has number ${file.number}`
      if (file.modulo !== expected.modulo) return `${where} has modulo ${file.modulo}`
      if (file.itemCount !== expected.items.size) return `${where} counts ${file.itemCount} items`
      let bytes = 0
      for (const [id, value] of expected.items) {
        const found = file.read(Buffer.from(id, 'latin1'))
        if (found === null) return `${where} has no ${JSON.stringify(id)}`
        if (!found.equals(value)) return `${where} has another ${JSON.stringify(id)}`
        bytes += id.length + value.length
      }
      if (file.bytes !== bytes) return `${where} counts ${file.bytes} bytes, not ${bytes}`
      const scanned = new Set<string>()
      for (let cursor: number | null = 0; cursor !== null;) {
        cursor = file.scan(cursor, 3, (id, value) => {
          const key = id.toString('latin1')
          if (scanned.has(key) || !value.equals(expected.items.get(key)!))
            scanned.add(`${key} twice`)
          scanned.add(key)
        })
      }
      if (scanned.size !== expected.items.size) return `${where} scans ${scanned.size} items`
    }
  }
  return null
}

/** A checkpoint of what has been applied, with a log that is durable already. */
export function checkpoint(database: Database, paced = false): Promise<void> {
  const position = { txn: database.appliedTxn, chain: database.appliedTxn * 3 }
  return database.checkpoint(position, Promise.resolve(), { paced })
}

/** Runs the property, more often in the long form, and reports how it failed: with the seed that shows it again. */
export async function holds<T>(
  t: Test,
  name: string,
  property: fc.IAsyncProperty<T> | fc.IProperty<T>,
  numRuns: number,
  examples: T[] = [],
): Promise<void> {
  const result = await fc.check(property as fc.IAsyncProperty<T>, {
    numRuns: runs(numRuns),
    examples,
    includeErrorInReport: true,
  })
  t.equal(result.failed ? fc.defaultReportMessage(result) : null, null, name)
}
