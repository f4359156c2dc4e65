// Makes a master of a slave that has drained its log. Interrupted anywhere, it is a slave still, or one whose next
// "hb promote" goes on here.
//
//   0. every step is tried          what fails here changes nothing
//   1. DIR/promotion, durably       names the new timeline and its random lineage, so that going on finds them
//   2. a segment of the new timeline, durably: this decides it. The old master is not followed any more.
//   3. its first transaction, durably: a promote record, which says so to every slave
//   4. DIR/role says master         a slave's server does not start between 2 and 4
//
// DIR/promotion stays as long as the server is a master: by it the server answers on its port that the old master
// is over (gatekeeper.ts), and keeps the log from the fork on, by which the old one comes back (retention.ts).
import { readUpstream } from '../config/identity.ts'
import { unfinishedPromotion, writePromotion, type Promotion } from '../config/promotion-file.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { identityBytes } from '../log/segment.ts'
import type { LogWriter } from '../log/writer.ts'
import { removeState, tryDirectory } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { Config } from '../config/config.ts'
import { changeRole, tryRole, type Change } from '../config/role-change.ts'
import { unknownRole } from '../config/role.ts'
import type { Layout } from '../config/layout.ts'

const asMaster: Change = role => ({ ...role, type: 'master', master: null })

/**
 * Tries every step that may fail, and changes nothing. The caller owns the server. Throws ERR_CONFIG when hb.toml would
 * be wrong for a master, ERR_DISK, ERR_DISK_FULL.
 */
export async function tryPromotion(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
): Promise<void> {
  for (const directory of [layout.directory, layout.log]) await tryDirectory(disk, directory)
  await tryRole(disk, layout, asMaster, unknownRole)
}

/**
 * Carries it out; the caller owns the server, takes nothing from a master any more, and has applied what its log
 * holds. Throws ERR_PROMOTING once it is decided: the next call goes on. Before, ERR_DISK, ERR_DISK_FULL, ERR_STOPPED:
 * the server is the slave that it was.
 */
export async function promoteLog(
  platform: Pick<Platform, 'disk' | 'clock' | 'random'>,
  layout: Layout,
  config: Config,
  log: LogWriter,
): Promise<Promotion> {
  const { disk } = platform
  let promotion = await unfinishedPromotion(disk, layout, config, log)
  if (promotion === null) {
    // Of an earlier life as a master; it means nothing on a slave.
    await removeState(disk, layout.fenced)
    promotion = await begin(platform, layout, log)
    const { identity } = log
    if (identity === null) throw new TypeError('the log has no history')
    const { timeline, lineage } = promotion
    const lineageId = Buffer.from(lineage, 'hex')
    await log.beginTimeline({ databaseId: identity.databaseId, lineageId, timeline })
  }
  try {
    await complete(disk, layout, config, log, promotion)
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    const message = `${config.name} has begun timeline ${promotion.timeline}, and its promotion is not complete: ${error.message}`
    throw new HotBackupError('ERR_PROMOTING', message, { path: layout.directory }, error)
  }
  return promotion
}

async function complete(
  disk: Disk,
  layout: Layout,
  config: Config,
  log: LogWriter,
  { fork, lineage, timeline }: Promotion,
): Promise<void> {
  if (log.lastTxn === fork.txn) {
    log.begin().promote(config.name, Buffer.from(lineage, 'hex'), timeline)
    log.commit()
  }
  await log.durable()
  await changeRole(disk, layout, asMaster, unknownRole)
}

/**
 * The one that a promotion begins; `own` is that of the log. A master of a later one than the log has may be at work:
 * two masters of the same timeline would not know which of them is over.
 */
export async function nextTimeline(disk: Disk, layout: Layout, own: number): Promise<number> {
  const { timeline } = await readUpstream(disk, layout)
  return Math.max(own, timeline) + 1
}

async function begin(
  { disk, clock, random }: Pick<Platform, 'disk' | 'clock' | 'random'>,
  layout: Layout,
  log: LogWriter,
): Promise<Promotion> {
  const promotion: Promotion = {
    timeline: await nextTimeline(disk, layout, log.identity?.timeline ?? 0),
    lineage: Buffer.from(random.bytes(identityBytes)).toString('hex'),
    fork: log.cut(),
    time: clock.now(),
    awaited: true,
  }
  await writePromotion(disk, layout, promotion)
  return promotion
}
