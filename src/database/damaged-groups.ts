// Damaged groups of a database, which may not be used: what status says of them.
import type { Database } from './database.ts'
import { groupOf } from './hash.ts'

export interface DamagedGroup {
  readonly account: string
  readonly file: string
  readonly modulo: number
  readonly firstGroup: number
  readonly lastGroup: number
  /** What happened, and what comes next. */
  readonly message: string
}

export function damagedGroups(database: Database): DamagedGroup[] {
  const { quarantine } = database
  return quarantine.ranges.flatMap(range => {
    const file = database.fileByNumber(range.fileNumber)
    if (file === undefined) return []
    const { account, name, modulo } = file
    const [firstGroup, lastGroup] = [groupOf(range.from, modulo), groupOf(range.to - 1, modulo)]
    const { message } = quarantine.refusal(file, range)
    return [{ account, file: name, modulo, firstGroup, lastGroup, message }]
  })
}
