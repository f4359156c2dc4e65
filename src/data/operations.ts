// The operations on data, written once: used by a process that has the database open itself, and over the
// control socket by everybody else. An operation answers with one message or a stream of them. Nothing leaves
// before it is durable.
import { CountedScan } from '../database/counted-scan.ts'
import { digestAccount, digestDatabase, digestFile } from '../database/digest.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { flagWords } from '../log/file-flags.ts'
import { groupOperations } from '../repair/group-operations.ts'
import { checkAccount, findFile, goneFile } from '../updates/account.ts'
import { commitLevels, type CommitLevel } from '../config/policies.ts'
import type { Removed } from '../updates/updates.ts'
import { quotedText } from '../text/line-buffer.ts'
import { verifyOperations } from '../repair/verify-operations.ts'
import type { DataSource, DataWrites } from './data-source.ts'
import { errorToJson } from '../control/error-json.ts'
import type { JsonObject } from '../control/frames.ts'
import { unpackCommits } from './packed-commits.ts'
import { ItemPacker, unpackItems } from './packed-items.ts'

export interface Message {
  readonly header: JsonObject
  readonly body?: Uint8Array
}

/** What a request says, read with checks: it may come from another version of this program. */
export class Arguments {
  readonly #header: JsonObject
  readonly body: Buffer

  constructor(header: JsonObject, body: Buffer) {
    this.#header = header
    this.body = body
  }

  text(key: string): string {
    const value = this.#header[key]
    if (typeof value === 'string') return value
    throw new HotBackupError('ERR_WIRE', `a request without ${key}`)
  }

  optionalText(key: string): string | null {
    return this.#header[key] === undefined ? null : this.text(key)
  }

  number(key: string): number {
    const value = this.#header[key]
    if (typeof value === 'number') return value
    throw new HotBackupError('ERR_WIRE', `a request without ${key}`)
  }

  /** Pairs of numbers. */
  pairs(key: string): [number, number][] {
    const value = this.#header[key]
    if (!Array.isArray(value)) throw new HotBackupError('ERR_WIRE', `a request without ${key}`)
    return value.map((pair: unknown) => {
      const [first, second] = Array.isArray(pair) ? (pair as unknown[]) : []
      if (typeof first === 'number' && typeof second === 'number') return [first, second]
      throw new HotBackupError('ERR_WIRE', `a request with wrong ${key}`)
    })
  }

  /** Three numbers each. */
  triples(key: string): [number, number, number][] {
    const value = this.#header[key]
    if (!Array.isArray(value)) throw new HotBackupError('ERR_WIRE', `a request without ${key}`)
    return value.map((triple: unknown) => {
      const [first, second, third] = Array.isArray(triple) ? (triple as unknown[]) : []
      if (typeof first === 'number' && typeof second === 'number' && typeof third === 'number') {
        return [first, second, third]
      }
      throw new HotBackupError('ERR_WIRE', `a request with wrong ${key}`)
    })
  }

  /** Pairs of names. */
  names(key: string): [string, string][] {
    const value = this.#header[key]
    if (!Array.isArray(value)) throw wrong(key)
    return value.map((pair: unknown) => {
      const [first, second] = Array.isArray(pair) ? (pair as unknown[]) : []
      if (typeof first === 'string' && typeof second === 'string') return [first, second]
      throw wrong(key)
    })
  }

  /** Undefined for the one of hb.toml. */
  level(): CommitLevel | undefined {
    const value = this.#header['level']
    if (value === undefined) return undefined
    return commitLevels.find(level => level === value) ?? fail(wrong('level'))
  }

  /** False when it is not there. */
  flag(key: string): boolean {
    return this.#header[key] === true
  }

  get account(): string {
    return this.text('account')
  }
  get file(): string {
    return this.text('file')
  }
}

function wrong(key: string): HotBackupError {
  return new HotBackupError('ERR_WIRE', `a request with wrong ${key}`)
}

function fail(error: Error): never {
  throw error
}

export type Operation = (source: DataSource, args: Arguments) => AsyncIterable<Message>

/** A part can be larger than this by one item. */
const partBytes = 4 * MiB
/** Items that are looked at in one go, by whole groups: a millisecond or so in which nobody else is served. */
const scanItems = 1000

/** How often a long operation says how far it is. */
const slicesPerPart = 50

/** Lets a long computation wait now and then, and tells whoever iterates how far it is. */
class Slices {
  #count = 0
  #next: () => void = () => {}

  /** Called between slices. */
  readonly turn = async (): Promise<void> => {
    this.#count++
    if (this.#count % slicesPerPart === 0) this.#next()
    await new Promise(resolve => setImmediate(resolve))
  }

  /** The count of slices now and then, until `work` is settled. */
  async *until(work: Promise<unknown>): AsyncGenerator<number, void, undefined> {
    let working = true
    const settled = () => {
      working = false
      this.#next()
    }
    work.then(settled, settled)
    for (;;) {
      await new Promise<void>(resolve => {
        this.#next = resolve
        if (!working) resolve()
      })
      if (!working) return
      yield this.#count
    }
  }
}

export const operations: Readonly<Record<string, Operation>> = {
  ...verifyOperations,
  ...groupOperations,
  'create-account': write(({ account }, writes) => writes.createAccount(account)),
  'delete-account': write(({ account }, writes) => writes.deleteAccount(account)),
  'create-file': write((args, writes) =>
    writes.createFile(args.account, args.file, args.number('modulo'), args.flag('local')),
  ),
  'set-file': write((args, writes) => writes.setLocal(args.account, args.file, args.flag('local'))),
  'delete-file': write(({ account, file }, writes) => writes.deleteFile(account, file)),
  'clear-file': write(({ account, file }, writes) => writes.clearFile(account, file)),
  'resize-file': write((args, writes) =>
    writes.resizeFile(args.account, args.file, args.number('modulo')),
  ),
  'write-items': write(({ account, file, body }, writes) =>
    writes.writeMany(account, file, unpackItems(body)),
  ),
  'delete-item': write(async ({ account, file, body }, writes) => {
    if (!(await writes.delete(account, file, body))) throw noItem(account, file, body)
  }),

  // The outcomes in the order of the transactions, and the last transaction of the log behind them.
  commit: async function* (source, args) {
    const writes = writesOf(source)
    const commits = unpackCommits(args.body)
    const outcomes = await writes.commit(args.names('files'), commits, args.level())
    const answers = outcomes.map(outcome =>
      outcome instanceof Error ? errorToJson(outcome) : outcome,
    )
    yield { header: { outcomes: answers, txn: writes.lastTxn } }
  },

  'wait-slaves': async function* (source, args) {
    const level = args.level()
    if (level === undefined || level === 'local') throw wrong('level')
    await writesOf(source).reached(args.number('txn'), level, args.number('timeoutMs'))
    yield { header: {} }
  },

  'read-item': async function* (source, { account, file, body }) {
    const value = findFile(source.database, account, file).read(body)
    await source.settled()
    if (value === null) throw noItem(account, file, body)
    yield { header: {}, body: value }
  },

  'list-accounts': async function* (source) {
    const { database } = source
    const accounts = database.accounts().map(account => ({
      account,
      files: database.files(account).length,
    }))
    yield* inParts(source, 'accounts', accounts)
  },

  'list-files': async function* (source, { account }) {
    checkAccount(source.database, account)
    const files = source.database.files(account).map(file => ({
      file: file.name,
      modulo: file.modulo,
      items: file.itemCount,
      ...(file.flags === 0 ? {} : { flags: flagWords(file.flags) }),
    }))
    yield* inParts(source, 'files', files)
  },

  // Why a file is replicated, or not: its flags, also of one that is not here for that.
  'file-flags': async function* (source, { account, file }) {
    const { database } = source
    const absent = database.absentFiles(account).find(({ name }) => name === file)
    const { flags } = absent ?? findFile(database, account, file)
    await source.settled()
    yield { header: { flags: flagWords(flags), absent: absent !== undefined } }
  },

  'list-items': (source, args) => scan(source, args, false),
  'scan-items': (source, args) => scan(source, args, true),

  // Some parts with the items looked at so far, then one with the digest.
  digest: async function* (source, args) {
    const { database } = source
    const account = args.optionalText('account')
    const file = args.optionalText('file')
    const slices = new Slices()
    const turn = slices.turn
    let digest: Promise<Buffer>
    if (account === null) digest = digestDatabase(database, turn)
    else if (file !== null) digest = digestFile(findFile(database, account, file), turn)
    else {
      checkAccount(database, account)
      digest = digestAccount(database, account, turn)
    }
    for await (const count of slices.until(digest)) yield { header: { slices: count } }
    const bytes = await digest
    await source.settled()
    yield { header: { digest: bytes.toString('hex') } }
  },

  'file-exists': async function* (source, { account, file }) {
    checkAccount(source.database, account)
    const exists = source.database.file(account, file) !== undefined
    await source.settled()
    yield { header: { exists } }
  },
}

/** An operation that writes: it answers when the update is durable, with what that has removed where it says so. */
function write(run: (args: Arguments, writes: DataWrites) => Promise<Removed | void>): Operation {
  return async function* (source, args) {
    const removed = await run(args, writesOf(source))
    yield { header: { ...removed } }
  }
}

function writesOf({ writes }: DataSource): DataWrites {
  if (writes === null) throw new HotBackupError('ERR_READ_ONLY', 'this server is a slave')
  return writes
}

/** Lists of any length: a header is bounded. */
async function* inParts(
  source: DataSource,
  key: string,
  rows: readonly JsonObject[],
): AsyncGenerator<Message> {
  await source.settled()
  for (let start = 0; start < rows.length; start += 1000) {
    yield { header: { [key]: rows.slice(start, start + 1000) } }
  }
}

/** The items of a file, or their ids alone, packed. Each part is durable when it leaves. */
async function* scan(
  source: DataSource,
  { account, file }: Arguments,
  withValues: boolean,
): AsyncGenerator<Message> {
  const found = findFile(source.database, account, file)
  const packer = new ItemPacker()
  /** What found no room: a group can hold any number of items, and an item may have 64 MiB. */
  let later: Buffer[] = []
  const visit: Parameters<HashedFile['scanEntries']>[2] = (bytes, idStart, idEnd, ...value) => {
    if (packer.byteLength < partBytes) packer.addFrom(bytes, idStart, idEnd, ...value)
    else later.push(Buffer.from(bytes.subarray(idStart, idEnd)))
  }
  const counted = new CountedScan(found, withValues)
  try {
    for (let more = true; more;) {
      checkStillThere(source, found)
      more = counted.next(scanItems, visit)
      for (const id of later) {
        if (packer.byteLength >= partBytes) {
          yield await part(source, packer)
          checkStillThere(source, found)
        }
        const value = withValues ? found.read(id) : noValue
        // Deleted since, while a part was on its way.
        if (value !== null) packer.add(id, value)
      }
      later = []
      if (packer.byteLength >= partBytes) yield await part(source, packer)
      else await source.settled()
    }
  } finally {
    counted.end()
  }
  if (packer.count > 0) yield await part(source, packer)
}

const noValue = new Uint8Array()

async function part(source: DataSource, packer: ItemPacker): Promise<Message> {
  const { count } = packer
  const body = packer.take()
  await source.settled()
  return { header: { count }, body }
}

function checkStillThere({ database }: DataSource, file: HashedFile): void {
  if (database.fileByNumber(file.number) !== file) throw goneFile(file)
}

function noItem(account: string, file: string, id: Buffer): HotBackupError {
  const message = `there is no item ${quotedText(id)} in ${account} ${file}`
  return new HotBackupError('ERR_NO_ITEM', message, { account, file })
}
