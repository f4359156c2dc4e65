// The master's part in the repair of a group that is damaged on some server: one transaction, or several for a large
// group, in which the log empties the group and writes its items. Each part is exact at its transaction; a server that
// holds the group undamaged is not changed by it.
import type { Database } from '../database/database.ts'
import { hashId } from '../database/hash.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import type { DamagedRange } from '../database/quarantine.ts'
import { vouchFor } from '../database/vouch.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import type { GroupItem } from '../wire/group-items.ts'
import type { GroupRange } from '../wire/messages/repair.ts'
import type { Updates, GroupPart } from '../updates/updates.ts'

/** Items that are counted in one turn. */
const countedItems = 1000
/** One transaction is about so large, unless an item is larger. */
const partBytes = 8 * MiB

export class GroupRepairs {
  readonly #database: Database
  readonly #updates: Pick<Updates, 'writeGroup'>

  constructor(database: Database, updates: Pick<Updates, 'writeGroup'>) {
    this.#database = database
    this.#updates = updates
  }

  /**
   * Writes the group as it is here, for a slave that cannot read its own. Resolves, when that is durable, with the last
   * transaction. Throws ERR_NO_FILE, ERR_GROUP_DAMAGED when it cannot be read here either, and as updates do.
   */
  async writeAgain({ fileNumber, from, to }: GroupRange): Promise<number> {
    let txn = 0
    const counted = this.#database.fileByNumber(fileNumber)
    // Other groups may be damaged here: then nothing but what each frame says of itself can be told.
    if (counted !== undefined && counted.vouched !== false) await vouchFor(counted, countedItems)
    for (let hash = from; hash < to;) {
      const file = this.#database.fileByNumber(fileNumber)
      if (file === undefined) {
        throw new HotBackupError('ERR_NO_FILE', `no file has the number ${fileNumber}`)
      }
      txn = await this.#updates.writeGroup(file, () => {
        const part = partOf(file, hash, to)
        hash = part.to
        return [part]
      })
    }
    return txn
  }

  /**
   * Writes a group that is damaged here, as a slave has it. Nothing happens when the file was cleared or deleted
   * meanwhile. Throws as updates do.
   */
  async restore(range: DamagedRange, items: readonly GroupItem[]): Promise<void> {
    const { quarantine } = this.#database
    const file = this.#database.fileByNumber(range.fileNumber)
    if (file === undefined) return
    const parts = partsOf(range, items)
    await this.#updates.writeGroup(file, () => (quarantine.ranges.includes(range) ? parts : []))
  }
}

/** The items from `from` on, as many as fit a transaction. */
function partOf(file: HashedFile, from: number, to: number): GroupPart {
  for (let end = to; ; end = from + Math.ceil((end - from) / 2)) {
    const items: GroupItem[] = []
    let bytes = 0
    file.scanRange(from, end, (source, idStart, idEnd, value, valueStart, valueEnd) => {
      bytes += idEnd - idStart + valueEnd - valueStart
      if (bytes > partBytes && end - from > 1) return
      const id = Buffer.from(source.subarray(idStart, idEnd))
      items.push({ id, value: Buffer.from(value.subarray(valueStart, valueEnd)) })
    })
    if (bytes <= partBytes || end - from === 1) return { from, to: end, items }
  }
}

/** Throws ERR_WIRE when an item does not belong there. */
function partsOf({ from, to }: DamagedRange, items: readonly GroupItem[]): GroupPart[] {
  const hashed = items.map(item => ({ item, hash: hashId(item.id, 0, item.id.length) }))
  hashed.sort((a, b) => a.hash - b.hash)
  const parts: GroupPart[] = []
  let start = from
  let some: GroupItem[] = []
  let bytes = 0
  for (const { item, hash } of hashed) {
    if (hash < from || hash >= to) {
      throw new HotBackupError('ERR_WIRE', 'an item that does not belong to the group')
    }
    if (bytes > partBytes && hash > start) {
      parts.push({ from: start, to: hash, items: some })
      start = hash
      some = []
      bytes = 0
    }
    some.push(item)
    bytes += item.id.length + item.value.length
  }
  parts.push({ from: start, to, items: some })
  return parts
}
