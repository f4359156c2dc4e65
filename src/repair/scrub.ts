// hb scrub: reads everything that lies in a server's directory and says what is damaged; also while the server works,
// which it does not hold up. With `repair` the log is repaired from a peer, by whoever owns the directory.
import path from 'node:path'
import { damagedPromotion, readPromotion } from '../config/promotion-file.ts'
import { ask } from '../control/operation.ts'
import type { DataAccess } from '../data/data-access.ts'
import { scrubDatabase, type FramePlace } from '../database/scrub.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { scrubLog } from '../log/scrub.ts'
import { isWrongFile, readFile } from '../platform/atomic-file.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { ackBytes, decodeAck, slaveOfAck } from '../ship/ack-file.ts'
import { listLost } from '../slave/lost-found.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { readServerId } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import { newRole, readRole } from '../config/role.ts'
import { liveHolder, reach } from '../control/reach.ts'
import { completeName } from '../backup/seed-files.ts'
import { readFenced } from '../config/fence.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { recoveryPurpose } from '../control/owner.ts'
import type { Log } from '../config/messages-log.ts'
import { repairStopped } from './log-from-peers.ts'
import { repairOperations } from './repair-operations.ts'

export interface Damage {
  readonly part: 'log' | 'database' | 'slaves' | 'lost-found' | 'server'
  readonly path: string
  readonly offset: number
  readonly txn: number | null
  readonly account: string | null
  readonly file: string | null
  readonly group: number | null
  /** Of a data file. */
  readonly frame: FramePlace | null
  readonly message: string
  /** What helps. */
  readonly hint: string
}

export interface ScrubReport {
  readonly name: string
  /** Of segments and data files. */
  readonly bytes: number
  readonly damages: readonly Damage[]
  /** What was repaired. */
  readonly repaired: readonly {
    readonly path: string
    readonly kept: string | null
    /** Of a frame: where it is, and what was wrong with it. */
    readonly what?: string
  }[]
  /** Why something could not be repaired; null when it was not to be, or could. */
  readonly unrepaired: string | null
}

export interface ScrubOptions {
  readonly access: DataAccess
  readonly repair: boolean
  /** Bytes a second that are read while a server runs; 0 for no limit. */
  readonly rate: number
  readonly progress: (bytes: number) => void
  readonly say: Log
}

/** Writers finish within so long what they have begun. */
const lookAgainMs = 100
/** A large log takes seconds to be removed. */
const looksMax = 100
/** So long the other side may take to give what is missing. */
const patienceMs = 30_000
/** So many are repaired in one go. */
const framesMax = 10_000

/** Throws ERR_NOT_A_SERVER, ERR_CONFIG, ERR_LOG_VERSION, ERR_DISK. */
export async function scrub(
  platform: Platform,
  directory: string,
  options: ScrubOptions,
): Promise<ScrubReport> {
  const layout = layoutOf(directory)
  // A role that is unknown is found below.
  const config = await loadConfig(platform.disk, layout, newRole('slave'))
  const reading = new Reading(platform, options, (await ownerOf(platform, layout)) !== null)
  let log = await damagesOfLog(platform, layout, reading)
  let repaired: ScrubReport['repaired'] = []
  let unrepaired: string | null = null
  if (options.repair && log.length > 0) {
    try {
      repaired = await repair(platform, layout, config, options.say)
      log = await damagesOfLog(platform, layout, reading)
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      unrepaired = error.message
    }
  }
  let database = await damagesOfDatabase(platform, layout, config, reading)
  const frames = database
    .flatMap(({ frame }) => (frame === null ? [] : [frame]))
    .slice(0, framesMax)
  if (options.repair && frames.length > 0) {
    const before = database
    try {
      await repairFrames(platform, directory, frames, options.access)
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      unrepaired ??= error.message
    }
    database = await damagesOfDatabase(platform, layout, config, reading)
    const left = new Set(database.map(({ message }) => message))
    const gone = before.filter(({ message }) => !left.has(message))
    repaired = [
      ...repaired,
      ...gone.map(({ message, path }) => ({ path, kept: null, what: message })),
    ]
  }
  const damages = [
    ...log,
    ...database,
    ...(await damagesOfAcks(platform, layout)),
    ...(await damagesOfRest(platform, layout, config)),
  ]
  return { name: config.name, bytes: reading.bytes, damages, repaired, unrepaired }
}

/** Counts, shows and paces what is read. */
class Reading {
  readonly #platform: Pick<Platform, 'clock'>
  readonly #options: ScrubOptions
  readonly #paced: boolean
  readonly #start: number
  bytes = 0

  constructor(platform: Pick<Platform, 'clock'>, options: ScrubOptions, paced: boolean) {
    this.#platform = platform
    this.#options = options
    this.#paced = paced && options.rate > 0
    this.#start = platform.clock.monotonic()
  }

  readonly took = async (bytes: number): Promise<void> => {
    const { clock } = this.#platform
    this.bytes += bytes
    this.#options.progress(this.bytes)
    if (!this.#paced) return
    const due = this.#start + (this.bytes / this.#options.rate) * 1000
    const delay = due - clock.monotonic()
    // Timers are coarse: small debts are gathered.
    if (delay > 20) await sleep(clock, delay)
  }

  readonly lookAgain = (): Promise<void> => sleep(this.#platform.clock, lookAgainMs)
}

async function ownerOf(platform: Platform, layout: Layout) {
  return liveHolder(platform, layout.ownerLock)
}

const nowhere = { offset: 0, txn: null, account: null, file: null, group: null, frame: null }

async function damagesOfLog(
  { disk }: Platform,
  layout: Layout,
  { took, lookAgain }: Reading,
): Promise<Damage[]> {
  let found = await scrubLog(disk, layout.log, took)
  // While a copy is put in place the log before it goes piece by piece, so damage is what is there still.
  let replaced = true
  for (let looks = 1; found.length > 0 && replaced && looks < looksMax; looks++) {
    replaced = await disk.exists(path.join(layout.seed, completeName))
    await lookAgain()
    found = await scrubLog(disk, layout.log, took)
  }
  const hint = 'The same bytes lie on the other side: "hb scrub --repair".'
  return found.map(damage => ({ ...nowhere, part: 'log', ...damage, hint }))
}

async function damagesOfDatabase(
  { disk }: Platform,
  layout: Layout,
  { type }: Config,
  reading: Reading,
): Promise<Damage[]> {
  const found = await scrubDatabase(disk, layout.database, reading)
  const [ofFrame, ofWhole] =
    type === 'slave'
      ? [
          '"hb scrub --repair" has its group repaired by the log; for more than that, "hb seed" on the master.',
          'No group can be repaired here: make the slave anew, by "hb seed" on the master.',
        ]
      : [
          '"hb scrub --repair" fetches its group from a slave; else let a slave take over ("hb promote").',
          'No group can be repaired here: let a slave take over ("hb promote"), or restore a save ("hb restore").',
        ]
  return found.map(damage => {
    return {
      ...nowhere,
      part: 'database',
      ...damage,
      hint: damage.frame === null ? ofWhole : ofFrame,
    }
  })
}

async function damagesOfAcks({ disk }: Platform, { slaves }: Layout): Promise<Damage[]> {
  const found: Damage[] = []
  const hint = 'It counts as no ack; the slave is asked again when it is there.'
  for (const { name } of await disk.list(slaves)) {
    if (slaveOfAck(name) === null) continue
    const file = path.join(slaves, name)
    const message = await faultOfAck(disk, file)
    if (message !== null) found.push({ ...nowhere, part: 'slaves', path: file, message, hint })
  }
  return found
}

async function faultOfAck(disk: Platform['disk'], file: string): Promise<string | null> {
  try {
    const bytes = await readFile(disk, file, ackBytes)
    // A new one is empty.
    if (bytes === null || bytes.length === 0 || decodeAck(bytes) !== null) return null
    return bytes.length === ackBytes ? 'it has a wrong CRC' : `it has ${bytes.length} bytes`
  } catch (error) {
    if (isWrongFile(error)) return error.message
    throw error
  }
}

async function damagesOfRest(
  platform: Platform,
  layout: Layout,
  { link }: Config,
): Promise<Damage[]> {
  const found: Damage[] = []
  const check = async (part: Damage['part'], file: string, hint: string, look: () => unknown) => {
    try {
      await look()
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      found.push({ ...nowhere, part, path: file, message: error.message, hint })
    }
  }
  const { lostAndFound, serverId, role, promotion, fenced } = layout
  const another = 'Put it there from a save, or from the other side.'
  await check('lost-found', lostAndFound, 'See "hb lost list"; "hb lost discard" removes it.', () =>
    listLost(platform.disk, lostAndFound),
  )
  await check('server', serverId, another, () => readServerId(platform.disk, layout))
  const unknown = '"hb rejoin" makes it a slave, "hb promote" the master.'
  await check('server', role, unknown, () => readRole(platform.disk, layout))
  await check('server', fenced, 'It counts as fenced: "hb rejoin".', () =>
    readFenced(platform.disk, layout),
  )
  if ((await readPromotion(platform.disk, layout)) === damagedPromotion) {
    const message = `${promotion} is damaged`
    const hint = 'All of the log is kept for the old master, until it has rejoined.'
    found.push({ ...nowhere, part: 'server', path: promotion, message, hint })
  }
  const { keyPath } = link
  if (keyPath !== null) await check('server', keyPath, another, () => readKey(platform, keyPath))
  return found
}

/** By the process that has the database open; on a master without one, by this process. */
function repairFrames(
  platform: Platform,
  directory: string,
  frames: readonly FramePlace[],
  access: DataAccess,
): Promise<void> {
  return access(platform, directory, 'write', async data => {
    const places = frames.map(
      ({ fileNumber, generation, frame }) => [fileNumber, generation, frame] as const,
    )
    let { left } = await ask(data, repairOperations.repairFrames, { frames: places })
    for (let waited = 0; left !== null; waited += lookAgainMs) {
      if (waited > patienceMs) throw new HotBackupError('ERR_GROUP_DAMAGED', left)
      await sleep(platform.clock, lookAgainMs)
      left = (await ask(data, repairOperations.repairFrames, { frames: [] })).left
    }
  })
}

/** By the process that owns the server; without one, by this process. */
async function repair(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
): Promise<ScrubReport['repaired']> {
  const client = await reach(platform, layout, 'owner')
  if (client !== null) {
    try {
      return (await ask(client, repairOperations.repair, {})).repaired
    } finally {
      client.close()
    }
  }
  const lock = await platform.locks.acquire(layout.ownerLock, recoveryPurpose, () => {})
  try {
    return await repairStopped(platform, layout, config, say)
  } finally {
    await lock.release()
  }
}
