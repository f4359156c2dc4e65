// DIR/promotion: which timeline this server has begun, or was about to begin, when it was promoted. Stays as long as
// the server is a master (see failover/promotion.ts).
import { historyStart, sameIdentity, type LogPosition } from '../log/chain.ts'
import { identityBytes } from '../log/segment.ts'
import type { LogWriter } from '../log/writer.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Config } from './config.ts'
import type { Layout } from './layout.ts'
// Stays as long as the server is a master.
import * as v from 'valibot'

/** What lies in DIR/promotion. */
export interface Promotion {
  readonly timeline: number
  /** Of the new timeline; hexadecimal. */
  readonly lineage: string
  /** Where the timeline before ends: the last transaction that is taken over. */
  readonly fork: LogPosition
  /** Wall-clock milliseconds. */
  readonly time: number
  /** The old master has not come back: it will need the log from the fork on. */
  readonly awaited: boolean
}

const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const schema = v.strictObject({
  timeline: whole,
  lineage: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  fork: v.strictObject({ txn: whole, chain: whole }),
  time: whole,
  awaited: v.boolean(),
})
const fileBytesMax = 4096

/**
 * What a damaged file means: it is not known which timeline this server has begun. A master then keeps all of its log
 * for the old one, within keep_size, as it does until that has come back; on a slave the file decides nothing.
 */
export const damagedPromotion: Promotion = {
  timeline: 0,
  lineage: '0'.repeat(2 * identityBytes),
  fork: historyStart,
  time: 0,
  awaited: true,
}

/** Null when the server was never promoted, or has become a slave again. */
export async function readPromotion(disk: Disk, layout: Layout): Promise<Promotion | null> {
  const bytes = await readState(disk, layout.promotion, fileBytesMax)
  if (bytes === null) return null
  try {
    return v.parse(schema, JSON.parse(bytes.toString()))
  } catch {
    return damagedPromotion
  }
}

export async function writePromotion(
  disk: Disk,
  layout: Layout,
  promotion: Promotion,
): Promise<void> {
  const text = `${JSON.stringify(promotion)}\n`
  await writeFileAtomic(disk, layout.promotion, Buffer.from(text))
}

/** A promotion that was decided and not completed: the server is neither a slave nor a master. */
export async function unfinishedPromotion(
  disk: Disk,
  layout: Layout,
  config: Config,
  log: Pick<LogWriter, 'identity'>,
): Promise<Promotion | null> {
  if (config.type !== 'slave') return null
  const promotion = await readPromotion(disk, layout)
  if (promotion === null || promotion === damagedPromotion) return null
  return isOf(log, promotion) ? promotion : null
}

function isOf({ identity }: Pick<LogWriter, 'identity'>, { lineage }: Promotion): boolean {
  return identity !== null && sameIdentity(identity.lineageId, Buffer.from(lineage, 'hex'))
}
