// Digests of the content alone: equal for equal accounts, files, modulos and items, in whatever order and
// frames the items lie. SHA-256 throughout; TEXT is a u32 length and UTF-8, numbers are little-endian.
//
//   item       SHA-256 of u32 id length, id, value
//   file       SHA-256 of TEXT account, TEXT file, u32 modulo, u64 item count, the sum of the items' digests
//              (as 256-bit little-endian numbers, mod 2^256; 32 bytes)
//   account    SHA-256 of TEXT account, u32 file count, the files' digests in the order of their names
//   database   SHA-256 of u32 account count, the accounts' digests in the order of their names
//
// Files that are not replicated, or are still being filled on the slaves, count for nothing but themselves: so the
// digests of a master and its slaves are equal. The sum needs no order and no memory: hashing decides that it cannot be
// met by accident.
import { createHash, hash } from 'node:crypto'
import { HotBackupError } from '../errors.ts'
import { CountedScan } from './counted-scan.ts'
import { type Database } from './database.ts'
import { type HashedFile } from './hashed-file.ts'

/** Items between two turns of the event loop: 1 or 2 ms of work when they are small. */
const sliceItems = 1000
/** How often a file that changes meanwhile is begun again. */
const attemptsMax = 3

/** Called between slices: resolves when it is time to go on. */
export type Yield = () => Promise<void>

const nextTurn: Yield = () => new Promise(resolve => setImmediate(resolve))

/**
 * Throws ERR_DATABASE_CHANGED when the file changes all the while, ERR_NO_FILE when it is deleted meanwhile, and
 * ERR_DATABASE_CORRUPT when it does not hold as many items as it should.
 */
export async function digestFile(file: HashedFile, turn: Yield = nextTurn): Promise<Buffer> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const { lastTxn, modulo, account, name } = file
    const sum = await sumItems(file, turn)
    if (file.deleted) {
      const message = `file ${account} ${name} has been deleted meanwhile`
      throw new HotBackupError('ERR_NO_FILE', message, { account, file: name })
    }
    if (sum === null || file.lastTxn !== lastTxn) continue
    const numbers = Buffer.alloc(12)
    numbers.writeUInt32LE(modulo, 0)
    numbers.writeBigUInt64LE(BigInt(sum.count), 4)
    const whole = createHash('sha256').update(text(account)).update(text(name))
    return whole.update(numbers).update(sum.bytes()).digest()
  }
  const { account, name } = file
  const message = `file ${account} ${name} was changed while its digest was computed, ${attemptsMax} times`
  throw new HotBackupError('ERR_DATABASE_CHANGED', message, { account, file: name })
}

/** The digests of everything, from the whole down to the files. */
export interface DigestTree {
  /** What `digestDatabase` says. In hexadecimal, as are the others. */
  readonly digest: string
  readonly accounts: readonly {
    readonly account: string
    readonly digest: string
    readonly files: readonly {
      readonly file: string
      readonly modulo: number
      readonly items: number
      readonly digest: string
    }[]
  }[]
}

/** Looks at each item once. The database must not change meanwhile. Throws as `digestFile` does. */
export async function digestTree(
  database: Pick<Database, 'accounts' | 'files'>,
  turn: Yield = nextTurn,
): Promise<DigestTree> {
  const accounts = []
  const digests: Buffer[] = []
  for (const account of database.accounts()) {
    const files = []
    const whole = createHash('sha256')
    const found = database.files(account)
    whole.update(text(account)).update(u32(found.filter(isCompared).length))
    for (const file of found) {
      const digest = await digestFile(file, turn)
      if (isCompared(file)) whole.update(digest)
      const { name, modulo, itemCount: items } = file
      files.push({ file: name, modulo, items, digest: digest.toString('hex') })
    }
    const digest = whole.digest()
    digests.push(digest)
    accounts.push({ account, digest: digest.toString('hex'), files })
  }
  const whole = createHash('sha256').update(u32(accounts.length))
  for (const digest of digests) whole.update(digest)
  return { digest: whole.digest('hex'), accounts }
}

/** Both sides hold the same of it. */
function isCompared(file: HashedFile): boolean {
  return file.flags === 0
}

export async function digestAccount(
  database: Pick<Database, 'files'>,
  account: string,
  turn: Yield = nextTurn,
): Promise<Buffer> {
  const files = database.files(account).filter(isCompared)
  const whole = createHash('sha256').update(text(account)).update(u32(files.length))
  for (const file of files) whole.update(await digestFile(file, turn))
  return whole.digest()
}

export async function digestDatabase(
  database: Pick<Database, 'accounts' | 'files'>,
  turn: Yield = nextTurn,
): Promise<Buffer> {
  const accounts = database.accounts()
  const whole = createHash('sha256').update(u32(accounts.length))
  for (const account of accounts) whole.update(await digestAccount(database, account, turn))
  return whole.digest()
}

/** Null when the file changed on the way. */
async function sumItems(file: HashedFile, turn: Yield): Promise<ItemSum | null> {
  const { lastTxn } = file
  const sum = new ItemSum()
  const scan = new CountedScan(file)
  try {
    while (scan.next(sliceItems, sum.add)) {
      await turn()
      if (file.lastTxn !== lastTxn) return null
    }
    return sum
  } finally {
    scan.end()
  }
}

class ItemSum {
  count = 0
  readonly #words = new Uint32Array(8)
  #input = Buffer.allocUnsafeSlow(4096)

  readonly add = (
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueBytes: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void => {
    const idLength = idEnd - idStart
    const length = 4 + idLength + valueEnd - valueStart
    if (length > this.#input.length) this.#input = Buffer.allocUnsafeSlow(2 * length)
    const input = this.#input
    input.writeUInt32LE(idLength, 0)
    for (let i = 0; i < idLength; i++) input[4 + i] = bytes[idStart + i]!
    input.set(valueBytes.subarray(valueStart, valueEnd), 4 + idLength)
    const digest = hash('sha256', input.subarray(0, length), 'buffer')
    let carry = 0
    for (let word = 0; word < 8; word++) {
      const total = this.#words[word]! + digest.readUInt32LE(word * 4) + carry
      this.#words[word] = total
      carry = total >= 2 ** 32 ? 1 : 0
    }
    this.count++
  }

  bytes(): Buffer {
    return Buffer.from(this.#words.buffer)
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([u32(bytes.length), bytes])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
