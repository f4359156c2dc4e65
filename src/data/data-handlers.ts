// Carries out the operations on data, in the process that has the database open, for itself and for everybody else.
// Nothing leaves before it is durable.
import { handler, type Answer } from '../control/operation.ts'
import type { Handler } from '../control/handler.ts'
import { CountedScan } from '../database/counted-scan.ts'
import type { Database } from '../database/database.ts'
import { digestAccount, digestDatabase, digestFile } from '../database/digest.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { flagWords } from '../log/file-flags.ts'
import { turn, type Clock } from '../platform/clock.ts'
import { quotedText } from '../text/line-buffer.ts'
import { checkAccount, findFile, goneFile } from '../updates/account.ts'
import type { Updates } from '../updates/updates.ts'
import { readOperations, updateOperations } from './data-operations.ts'
import { NamedUpdates, type UpdateParts } from './named-updates.ts'
import { CommitOperation } from './commit-operation.ts'
import { unpackCommits } from './packed-commits.ts'
import { failureOf } from '../control/failure.ts'
import type { Commits } from '../updates/commits.ts'
import { ItemPacker, unpackItems } from './packed-items.ts'

/** An open master, a slave, or files that are only looked at. */
export interface DataSource {
  readonly database: Database
  readonly clock: Pick<Clock, 'nextTurn'>
  /** Resolves when everything that readers could have seen so far is durable. Awaited before an answer leaves. */
  settled(): Promise<void>
}

/** What a master has besides. */
export interface UpdateSource extends UpdateParts {
  readonly commits: Commits
}

/** A part can be larger than this by one item. */
const partBytes = 4 * MiB
/** Items that are looked at in one go, by whole groups: a millisecond or so in which nobody else is served. */
const scanItems = 1000
/** Rows of a part: a header is bounded. */
const partRows = 1000
/** How often a digest says how far it is. */
const slicesPerPart = 50

export function updateHandlers(source: UpdateSource): Handler[] {
  const { database, updates } = source
  const operations = updateOperations
  const named = new NamedUpdates(source)
  const commits = new CommitOperation(database, updates)
  return [
    handler(operations.createAccount, async ({ account }) => {
      await named.createAccount(account)
      return {}
    }),
    handler(operations.deleteAccount, ({ account }) => named.deleteAccount(account)),
    handler(operations.createFile, async ({ account, file, modulo, local }) => {
      await named.createFile(account, file, modulo, local)
      return {}
    }),
    handler(operations.setFile, async ({ account, file, local }) => {
      await named.setLocal(account, file, local)
      return {}
    }),
    handler(operations.deleteFile, ({ account, file }) => named.deleteFile(account, file)),
    handler(operations.clearFile, ({ account, file }) => named.clearFile(account, file)),
    handler(operations.resizeFile, async ({ account, file, modulo }) => {
      await named.resizeFile(account, file, modulo)
      return {}
    }),
    handler(operations.writeItems, async ({ account, file, body }) => {
      await writeItems(findFile(database, account, file), body, updates)
      return {}
    }),
    handler(operations.deleteItem, async ({ account, file, body }) => {
      const deleted = await updates.deleteItem(findFile(database, account, file), body)
      if (!deleted) throw noItem(account, file, body)
      return {}
    }),
    handler(operations.commit, async ({ files, level, body }) => {
      const outcomes = await commits.commit(files, unpackCommits(body), level)
      const answers = outcomes.map(outcome =>
        outcome instanceof Error ? failureOf(outcome) : outcome,
      )
      return { outcomes: answers, txn: updates.lastTxn }
    }),
    handler(operations.waitSlaves, async ({ txn, level, timeoutMs }) => {
      await source.commits.reached(txn, level, timeoutMs)
      return {}
    }),
  ]
}

/** Takes items as long as there is room, so that they share blocks; resolves when the last one is done. */
async function writeItems(file: HashedFile, packed: Buffer, updates: Updates): Promise<void> {
  let last = updates.settled()
  for (const { id, value } of unpackItems(packed)) {
    if (updates.turns.crowded) await updates.turns.room()
    last = updates.writeItem(file, id, value)
    last.catch(() => {}) // The last one says so for all of them.
  }
  await last
}

export function readHandlers(source: DataSource): Handler[] {
  const { database } = source
  const operations = readOperations
  return [
    handler(operations.readItem, async ({ account, file, body }) => {
      const value = findFile(database, account, file).read(body)
      await source.settled()
      if (value === null) throw noItem(account, file, body)
      return { body: value }
    }),
    handler(operations.listAccounts, () => {
      const rows = database.accounts().map(account => ({
        account,
        files: database.files(account).length,
      }))
      return inParts(source, rows)
    }),
    handler(operations.listFiles, ({ account }) => {
      checkAccount(database, account)
      const rows = database.files(account).map(file => ({
        file: file.name,
        modulo: file.modulo,
        items: file.itemCount,
        ...(file.flags === 0 ? {} : { flags: flagWords(file.flags) }),
      }))
      return inParts(source, rows)
    }),
    handler(operations.fileExists, async ({ account, file }) => {
      checkAccount(database, account)
      const exists = database.file(account, file) !== undefined
      await source.settled()
      return { exists }
    }),
    handler(operations.fileFlags, async ({ account, file }) => {
      const absent = database.absentFiles(account).find(({ name }) => name === file)
      const { flags } = absent ?? findFile(database, account, file)
      await source.settled()
      return { flags: flagWords(flags), absent: absent !== undefined }
    }),
    handler(operations.listItems, ({ account, file }) =>
      scan(source, findFile(database, account, file), false),
    ),
    handler(operations.scanItems, ({ account, file }) =>
      scan(source, findFile(database, account, file), true),
    ),
    handler(operations.digest, ({ account, file }) => digest(source, account, file)),
  ]
}

/** Lists of any length. */
async function* inParts<Row>(
  source: DataSource,
  rows: readonly Row[],
): AsyncGenerator<{ rows: Row[] }, object, undefined> {
  await source.settled()
  for (let start = 0; start < rows.length; start += partRows) {
    yield { rows: rows.slice(start, start + partRows) }
  }
  return {}
}

/** The items of a file, or their ids alone, packed. Each part is durable when it leaves. */
async function* scan(
  source: DataSource,
  file: HashedFile,
  withValues: boolean,
): AsyncGenerator<{ body: Buffer }, object, undefined> {
  const packer = new ItemPacker()
  /** What found no room: a group can hold any number of items, and an item may have 64 MiB. */
  let later: Buffer[] = []
  const visit: Parameters<HashedFile['scanEntries']>[2] = (bytes, idStart, idEnd, ...value) => {
    if (packer.byteLength < partBytes) packer.addFrom(bytes, idStart, idEnd, ...value)
    else later.push(Buffer.from(bytes.subarray(idStart, idEnd)))
  }
  const counted = new CountedScan(file, withValues)
  try {
    for (let more = true; more;) {
      checkStillThere(source, file)
      more = counted.next(scanItems, visit)
      for (const id of later) {
        if (packer.byteLength >= partBytes) {
          yield await part(source, packer)
          checkStillThere(source, file)
        }
        const value = withValues ? file.read(id) : noValue
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
  return {}
}

const noValue = new Uint8Array()

async function part(source: DataSource, packer: ItemPacker): Promise<{ body: Buffer }> {
  const body = packer.take()
  await source.settled()
  return { body }
}

function checkStillThere({ database }: DataSource, file: HashedFile): void {
  if (database.fileByNumber(file.number) !== file) throw goneFile(file)
}

async function* digest(
  source: DataSource,
  account: string | null,
  file: string | null,
): AsyncGenerator<{ slices: number }, Answer<typeof readOperations.digest>, undefined> {
  const { database, clock } = source
  const slices = new Slices(clock)
  let digesting: Promise<Buffer>
  if (account === null) digesting = digestDatabase(database, slices.turn)
  else if (file !== null) digesting = digestFile(findFile(database, account, file), slices.turn)
  else {
    checkAccount(database, account)
    digesting = digestAccount(database, account, slices.turn)
  }
  for await (const count of slices.until(digesting)) yield { slices: count }
  const bytes = await digesting
  await source.settled()
  return { digest: bytes.toString('hex') }
}

/** Lets a long computation wait now and then, and tells whoever iterates how far it is. */
class Slices {
  readonly #clock: Pick<Clock, 'nextTurn'>
  #count = 0
  #next: () => void = () => {}

  constructor(clock: Pick<Clock, 'nextTurn'>) {
    this.#clock = clock
  }

  /** Called between slices. */
  readonly turn = async (): Promise<void> => {
    this.#count++
    if (this.#count % slicesPerPart === 0) this.#next()
    await turn(this.#clock)
  }

  /** The count of slices now and then, until `work` has ended. */
  async *until(work: Promise<unknown>): AsyncGenerator<number, void, undefined> {
    let working = true
    const ended = () => {
      working = false
      this.#next()
    }
    work.then(ended, ended)
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

function noItem(account: string, file: string, id: Buffer): HotBackupError {
  const message = `there is no item ${quotedText(id)} in ${account} ${file}`
  return new HotBackupError('ERR_NO_ITEM', message, { account, file })
}
