// ASK-STATISTICS, master to slave, while it streams: what has been applied there? From protocol version 2 on.
//
//    0  token           u64  anything
//
// STATISTICS, slave to master: the answer. All of it counts from the same moment.
//
//    0  token           u64  that of the ASK-STATISTICS
//    8  since           u64  when the counting began, milliseconds since 1970, by the slave's clock
//   16  bytes received  u64  from masters
//   24  transactions    u64  that have been applied
//   32  lost            u64  transactions that went to lost-found
//   40  left out        u64  records about files that are not replicated
//   48  item bytes      u64  of the items that were written: item-ids and values
//   56  count           u16  of the record types that follow, 1 to 64
//   58  reserved        6 bytes  0
//   64  records         u64 each: applied records of type 1, 2 and so on
//
// A count of a type that the master does not know is of a newer version, and is passed over.
import type { Codec } from '../codec.ts'

export const recordTypesMax = 64
const fixedBytes = 64

export interface AskStatistics {
  readonly name: 'ask-statistics'
  readonly token: number
}

/** What a slave counts from the moment when it is started. */
export interface SlaveStatistics {
  /** Wall-clock milliseconds, by its own clock. */
  readonly since: number
  readonly bytesReceived: number
  readonly transactions: number
  readonly lost: number
  readonly leftOut: number
  readonly itemBytes: number
  /** By record type; that of type 1 comes first. */
  readonly records: readonly number[]
}

export interface Statistics {
  readonly name: 'statistics'
  readonly token: number
  readonly statistics: SlaveStatistics
}

export const askStatisticsCodec: Codec<AskStatistics> = {
  name: 'ask-statistics',
  bytesMin: 8,
  bytesMax: 8,
  write(fields, { token }) {
    fields.u64(token)
  },
  read(fields) {
    return { name: 'ask-statistics', token: fields.u64() }
  },
}

export const statisticsCodec: Codec<Statistics> = {
  name: 'statistics',
  bytesMin: fixedBytes + 8,
  bytesMax: fixedBytes + 8 * recordTypesMax,

  write(fields, { token, statistics }) {
    fields.u64(token)
    fields.u64(statistics.since)
    fields.u64(statistics.bytesReceived)
    fields.u64(statistics.transactions)
    fields.u64(statistics.lost)
    fields.u64(statistics.leftOut)
    fields.u64(statistics.itemBytes)
    fields.u16(statistics.records.length)
    fields.u16(0)
    fields.u32(0)
    for (const count of statistics.records) fields.u64(count)
  },

  read(fields) {
    const token = fields.u64()
    const since = fields.u64()
    const bytesReceived = fields.u64()
    const transactions = fields.u64()
    const lost = fields.u64()
    const leftOut = fields.u64()
    const itemBytes = fields.u64()
    const count = fields.u16()
    fields.skip(6)
    if (count < 1 || count > recordTypesMax) throw fields.fail(`${count} record types`)
    const records = Array.from({ length: count }, () => fields.u64())
    fields.finish()
    const statistics = { since, bytesReceived, transactions, lost, leftOut, itemBytes, records }
    return { name: 'statistics', token, statistics }
  },
}
