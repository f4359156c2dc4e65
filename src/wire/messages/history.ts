// HISTORY, the answer to JOIN: which timelines the log of the sender holds, and where it ends. The receiver finds by it
// where its own history parts from this one.
//
//    0  count          u16       of timelines, 1 to 32: the latest ones
//    2  name length    u8        1 to 64
//    3  reserved       u8        0
//    4  reserved       u32       0
//    8  server id      16 bytes  of the sender
//   24  database id    16 bytes
//   40  durable txn    u64       last durable transaction
//   48  durable chain  u32
//   52  reserved       u32       0
//   56  timelines      32 bytes each, oldest first
//    …  name           UTF-8     of the sender
//
// TIMELINE
//
//    0  lineage id     16 bytes
//   16  first txn      u64       the first transaction of it that the log holds
//   24  chain          u32       CRC-32 of the block before
//   28  timeline       u32
import { nameBytesMax } from '../../limits.ts'
import type { History, Timeline } from '../../log/fork.ts'
import type { Codec } from '../codec.ts'

export interface HistoryMessage extends History {
  readonly name: 'history'
  readonly serverName: string
  readonly serverId: Uint8Array
  readonly databaseId: Uint8Array
}

export const timelinesMax = 32
const timelineBytes = 32
const fixedBytes = 56

export const historyCodec: Codec<HistoryMessage> = {
  name: 'history',
  bytesMin: fixedBytes + timelineBytes + 1,
  bytesMax: fixedBytes + timelinesMax * timelineBytes + nameBytesMax,

  write(fields, history) {
    const name = Buffer.from(history.serverName)
    const timelines = history.timelines.slice(-timelinesMax)
    fields.u16(timelines.length)
    fields.u8(name.length)
    fields.u8(0)
    fields.u32(0)
    fields.identity(history.serverId)
    fields.identity(history.databaseId)
    fields.u64(history.end.txn)
    fields.u32(history.end.chain)
    fields.u32(0)
    for (const { lineageId, firstTxn, chain, timeline } of timelines) {
      fields.identity(lineageId)
      fields.u64(firstTxn)
      fields.u32(chain)
      fields.u32(timeline)
    }
    fields.raw(name)
  },

  read(fields) {
    const count = fields.u16()
    const nameLength = fields.u8()
    fields.skip(5)
    if (count < 1 || count > timelinesMax) throw fields.fail(`${count} timelines`)
    if (nameLength < 1 || nameLength > nameBytesMax) {
      throw fields.fail(`a name of ${nameLength} bytes`)
    }
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const end = fields.position()
    fields.skip(4)
    const timelines = Array.from({ length: count }, (): Timeline => {
      const lineageId = fields.identity()
      const { txn: firstTxn, chain } = fields.position()
      return { lineageId, firstTxn, chain, timeline: fields.u32() }
    })
    checkOrder(timelines, end.txn, what => fields.fail(what))
    const serverName = fields.text(nameLength)
    fields.finish()
    return { name: 'history', serverName, serverId, databaseId, timelines, end }
  },
}

function checkOrder(
  timelines: readonly Timeline[],
  endTxn: number,
  fail: (what: string) => Error,
): void {
  let before = { firstTxn: 0, timeline: -1 }
  for (const next of timelines) {
    if (next.firstTxn <= before.firstTxn || next.timeline <= before.timeline) {
      throw fail('timelines out of order')
    }
    before = next
  }
  if (before.firstTxn > endTxn + 1) throw fail('a timeline behind the end')
}
