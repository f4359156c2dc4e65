// Makes a master of a slave that has drained its log. Interrupted anywhere, it is a slave still, or one whose next
// "hb promote" goes on here.
//
//   1. DIR/promotion, durably       names the new timeline and its random lineage, so that going on finds them
//   2. a segment of the new timeline, durably: this decides it. The old master is not followed any more.
//   3. its first transaction, durably: a promote record, which tells whoever follows
//   4. apply-updates is removed     everything has been applied, and a master applies what it logs
//   5. hb.toml says master          a slave's server does not start between 2 and 5
//
// DIR/promotion stays as long as the server is a master: by it the server answers on its port that the old master
// is over (gatekeeper.ts), and keeps the log from the fork on, by which the old one comes back (retention.ts).
import * as v from 'valibot'
import { HotBackupError } from '../../errors.ts'
import { sameIdentity, type LogPosition } from '../../log/chain.ts'
import { identityBytes } from '../../log/segment.ts'
import type { LogWriter } from '../../log/writer.ts'
import { readFile, writeFileAtomic } from '../../platform/atomic-file.ts'
import type { Disk } from '../../platform/disk.ts'
import type { Platform } from '../../platform/platform.ts'
import { changedConfig, rewriteConfig, withType } from '../config/config-edit.ts'
import { readConfigText, type Config } from '../config/config.ts'
import type { Layout } from '../layout.ts'

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

/** Null when the server was never promoted, or has become a slave again. Throws ERR_CONFIG for a damaged file. */
export async function readPromotion(disk: Disk, layout: Layout): Promise<Promotion | null> {
  const bytes = await readFile(disk, layout.promotion, fileBytesMax)
  if (bytes === null) return null
  try {
    return v.parse(schema, JSON.parse(bytes.toString()))
  } catch (error) {
    const message = `${layout.promotion} cannot be read: it was changed by somebody else`
    throw new HotBackupError('ERR_CONFIG', message, { path: layout.promotion }, error)
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
  return promotion !== null && isOf(log, promotion) ? promotion : null
}

function isOf({ identity }: Pick<LogWriter, 'identity'>, { lineage }: Promotion): boolean {
  return identity !== null && sameIdentity(identity.lineageId, Buffer.from(lineage, 'hex'))
}

/**
 * Carries it out; the caller owns the server, takes nothing from a master any more, and has applied what its log
 * holds. Errors: ERR_DISK, ERR_DISK_FULL, ERR_STOPPED, ERR_CONFIG; the next call goes on.
 */
export async function promoteLog(
  platform: Pick<Platform, 'disk' | 'clock' | 'random'>,
  layout: Layout,
  config: Config,
  log: LogWriter,
): Promise<Promotion> {
  const { disk } = platform
  const promotion =
    (await unfinishedPromotion(disk, layout, config, log)) ?? (await begin(platform, layout, log))
  const { fork, timeline } = promotion
  const lineageId = Buffer.from(promotion.lineage, 'hex')
  const { identity } = log
  if (identity === null) throw new TypeError('the log has no history')
  if (!isOf(log, promotion)) {
    await log.beginTimeline({ databaseId: identity.databaseId, lineageId, timeline })
  }
  if (log.lastTxn === fork.txn) {
    log.begin().promote(config.name, lineageId, timeline)
    log.commit()
  }
  await log.durable()
  await disk.remove(layout.applySwitch)
  // Of an earlier life as a master.
  await disk.remove(layout.fenced)
  await disk.syncDirectory(layout.directory)
  await rewriteConfig(platform, layout, asMaster, isMaster)
  return promotion
}

const asMaster = (text: string) => withType(text, 'master')
const isMaster = ({ type }: Config) => type === 'master'

/** Throws ERR_CONFIG when hb.toml would be wrong for a master: nothing should be begun then. */
export async function checkMasterConfig(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
): Promise<void> {
  changedConfig(await readConfigText(disk, layout), layout, asMaster, isMaster)
}

async function begin(
  { disk, clock, random }: Pick<Platform, 'disk' | 'clock' | 'random'>,
  layout: Layout,
  log: LogWriter,
): Promise<Promotion> {
  const promotion: Promotion = {
    timeline: (log.identity?.timeline ?? 0) + 1,
    lineage: Buffer.from(random.bytes(identityBytes)).toString('hex'),
    fork: log.cut(),
    time: clock.now(),
    awaited: true,
  }
  await writePromotion(disk, layout, promotion)
  return promotion
}
