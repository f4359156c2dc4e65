// Answers a master, one of whose groups is damaged: the items that this slave holds of it, as soon as it has applied
// what the master had applied. All of them are gathered at once, and told in pieces.
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import { sameIdentity } from '../log/chain.ts'
import { isOnSlaves } from '../log/file-flags.ts'
import { pieceBytesMax } from '../log/repair.ts'
import type { LogWriter } from '../log/writer.ts'
import { groupDigest, packGroup, type GroupItem } from '../wire/group-items.ts'
import type { AskGroup, GroupPiece } from '../wire/messages/group.ts'

/** So many items are counted on the spot: more of them, in the background. */
const countedItems = 20_000

export type Piece = Omit<GroupPiece, 'name' | 'token'>

export class GroupAnswers {
  readonly #name: string
  readonly #database: Database
  readonly #log: Pick<LogWriter, 'identity'>
  /** What was gathered last, while pieces of it are asked for. */
  #gathered: { readonly key: string; readonly packed: Buffer; readonly digest: Buffer } | null =
    null

  constructor(name: string, database: Database, log: Pick<LogWriter, 'identity'>) {
    this.#name = name
    this.#database = database
    this.#log = log
  }

  /**
   * Throws ERR_LINK_FOREIGN, ERR_LINK_DIVERGED, ERR_LINK_REFUSED (not applied yet: ask again), ERR_NO_FILE,
   * ERR_GROUP_DAMAGED when it cannot be read here either, ERR_DATABASE_CORRUPT when its file has not the items that it
   * should have, ERR_TRANSACTION_SIZE.
   */
  piece(question: AskGroup): Piece {
    const { fileNumber, from, to, txn, offset } = question
    this.#check(question)
    const key = [fileNumber, from, to, txn].join()
    if (this.#gathered?.key !== key) {
      const packed = packGroup(this.#items(question))
      this.#gathered = { key, packed, digest: groupDigest(packed) }
    }
    const { packed, digest } = this.#gathered
    const data = packed.subarray(offset, offset + pieceBytesMax)
    if (offset + data.length >= packed.length) this.#gathered = null
    return { total: packed.length, digest, data }
  }

  #check({ databaseId, lineageId, txn }: AskGroup): void {
    const name = `"${this.#name}"`
    const { identity } = this.#log
    if (identity === null || !sameIdentity(identity.databaseId, databaseId)) {
      throw new HotBackupError('ERR_LINK_FOREIGN', `${name} holds another database`)
    }
    if (!sameIdentity(identity.lineageId, lineageId)) {
      throw new HotBackupError('ERR_LINK_DIVERGED', `${name} follows another timeline`)
    }
    const { appliedTxn } = this.#database
    if (appliedTxn >= txn) return
    const text = `${name} has applied transaction ${appliedTxn}, and ${txn} is wanted`
    throw new HotBackupError('ERR_LINK_REFUSED', text)
  }

  #items({ fileNumber, from, to }: AskGroup): GroupItem[] {
    const file = this.#database.fileByNumber(fileNumber)
    if (file === undefined) {
      const text = `"${this.#name}" has no file with the number ${fileNumber}`
      throw new HotBackupError('ERR_NO_FILE', text)
    }
    if (!isOnSlaves(file.flags)) {
      const text = `"${this.#name}" does not hold all of ${file.account} ${file.name}`
      throw new HotBackupError('ERR_LINK_REFUSED', text)
    }
    if (file.vouched === null) file.examine(countedItems)
    // Still to be counted; throws when the file has not the items that it should have.
    if (file.vouched === null) {
      this.#database.work.suspect(file)
      const text = `"${this.#name}" is counting the items of ${file.account} ${file.name} first`
      throw new HotBackupError('ERR_LINK_REFUSED', text)
    }
    const items: GroupItem[] = []
    file.scanRange(from, to, (bytes, idStart, idEnd, value, valueStart, valueEnd) => {
      const id = Buffer.from(bytes.subarray(idStart, idEnd))
      items.push({ id, value: Buffer.from(value.subarray(valueStart, valueEnd)) })
    })
    return items
  }
}
