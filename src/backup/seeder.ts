// The master's side of a seed: gives a slave a copy of the database over a connection of its own, when the link has
// found that it needs one, or an operator orders it. The copy is made when the slave has agreed to take it.
//
//   asking ─► copying ─► sending ─► checking ─► done
//
// A connection that breaks is made again, and goes on where the slave's copy is durable; a slave that says no ends it.
import path from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { readDurableMark } from '../log/durable.ts'
import { sleep } from '../platform/clock.ts'
import type { DiskFile } from '../platform/disk.ts'
import type { Address } from '../platform/network.ts'
import { backoffMs } from '../ship/backoff.ts'
import { OwnLog } from '../ship/own-log.ts'
import { removeSeedHold, writeSeedHold } from '../ship/seed-hold.ts'
import type { SeedStatus, ShipStatus } from '../ship/status.ts'
import { seedDataBytesMax } from '../wire/messages/seed.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { readServerId } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import type { Layout } from '../config/layout.ts'
import type { Handler } from '../control/handler.ts'
import { handler } from '../control/operation.ts'
import { seed } from './copy-operations.ts'
import type { Log } from '../config/messages-log.ts'
import type { ImageTempo } from './image.ts'
import { SeedCall } from './seed-call.ts'
import {
  readStaged,
  removeStaged,
  stageImage,
  type SeedPlatform,
  type StagedImage,
} from './seed-image.ts'

/** Sent and not durable on the slave, above which the master waits. It is durable there every 8 MiB. */
const windowBytes = 32 * MiB
const readBytes = 1 * MiB
/** A slave that cannot be reached for so often in a row is given up until its link asks again. */
const attemptsMax = 20

export interface Slave {
  readonly name: string
  readonly address: Address
}

interface Job {
  readonly slave: Slave
  readonly ordered: boolean
  status: SeedStatus
  readonly done: Promise<void>
}

/** `order`: see Seeder.order. */
export function seedHandler(order: (slave: string) => AsyncGenerator<SeedStatus>): Handler {
  return handler(seed, async function* ({ slave }) {
    for await (const status of order(slave)) yield status
    return {}
  })
}

export class Seeder {
  readonly #platform: SeedPlatform
  readonly #layout: Layout
  readonly #config: Config
  readonly #say: Log
  /** The slave holds the copy: its link may call at once. */
  readonly #seeded: (slave: Slave) => Promise<void> | undefined
  readonly #jobs = new Map<string, Job>()
  readonly #stop = new AbortController()

  constructor(
    platform: SeedPlatform,
    layout: Layout,
    config: Config,
    say: Log,
    seeded: (slave: Slave) => Promise<void> | undefined,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
    this.#seeded = seeded
  }

  /** Call it first: what an earlier process has held of the log for copies is held no more until they go on. */
  async forget(): Promise<void> {
    for (const { name } of this.#config.slaves) {
      await removeSeedHold(this.#platform.disk, this.#layout.slaves, name)
    }
  }

  status(slave: string): SeedStatus | null {
    return this.#jobs.get(slave)?.status ?? null
  }

  /** The link has found that the slave needs a copy. Nothing happens when one is under way. */
  needed(slave: Slave): void {
    if (!this.#jobs.has(slave.name)) this.#begin(slave, false).done.catch(() => {})
  }

  /** An operator's order; says how far it is until the slave holds the copy. Throws why it does not get one. */
  async *order(name: string): AsyncGenerator<SeedStatus> {
    // It may have been entered since the start: an old master that has come back, say.
    const { slaves } = await loadConfig(this.#platform.disk, this.#layout)
    const slave = slaves.find(known => known.name === name)
    if (slave === undefined) {
      const message = `${this.#config.name} has no slave ${name}`
      throw new HotBackupError('ERR_NO_SLAVE', message, { slave: name })
    }
    const running = this.#jobs.get(name)
    const job = running?.ordered === true ? running : this.#begin(slave, true)
    let over = false
    const end = () => {
      over = true
    }
    job.done.then(end, end)
    while (!over) {
      yield job.status
      await Promise.race([job.done.catch(() => {}), sleep(this.#platform.clock, 250)])
    }
    await job.done
  }

  async stop(): Promise<void> {
    this.#stop.abort(new HotBackupError('ERR_CLOSED', 'the server stops'))
    await Promise.all([...this.#jobs.values()].map(job => job.done.catch(() => {})))
  }

  #begin(slave: Slave, ordered: boolean): Job {
    const before = this.#jobs.get(slave.name)
    const job: Job = {
      slave,
      ordered,
      status: { step: 'asking', bytes: 0, totalBytes: 0 },
      done: (before?.done ?? Promise.resolve()).catch(() => {}).then(() => this.#run(job)),
    }
    this.#jobs.set(slave.name, job)
    return job
  }

  async #run(job: Job): Promise<void> {
    const { slave } = job
    const { disk, random } = this.#platform
    try {
      for (let times = 1; ; times++) {
        try {
          const bytes = await this.#attempt(job)
          const text = `"${slave.name}" has taken a copy of the database: ${bytes} bytes`
          this.#say('info', text, { slave: slave.name, bytes })
          break
        } catch (error) {
          const broken = isHotBackupError(error, 'ERR_WIRE', 'ERR_WIRE_TIMEOUT', 'ERR_CONNECT')
          if (!broken || times === attemptsMax || this.#stop.signal.aborted) throw error
          const fields = { slave: slave.name, alarm: false }
          this.#say('warn', `seed of "${slave.name}": ${error.message}`, fields)
          await this.#sleep(backoffMs({ kind: 'failed', times }, random))
        }
      }
      await removeStaged(disk, this.#layout, slave.name)
      await this.#seeded(slave)
    } catch (error) {
      if (!this.#stop.signal.aborted) await this.#failed(job, error)
      throw error
    } finally {
      if (this.#jobs.get(slave.name) === job) this.#jobs.delete(slave.name)
    }
  }

  /** The log is not held for a slave that does not get its copy. */
  async #failed({ slave, ordered }: Job, error: unknown): Promise<void> {
    const { disk } = this.#platform
    await removeSeedHold(disk, this.#layout.slaves, slave.name).catch(() => {})
    // Asked by itself, a slave without auto_seed says no each time: its link tells that already.
    const asked = !ordered && isHotBackupError(error, 'ERR_LINK_SEED')
    const text = error instanceof Error ? error.message : String(error)
    this.#say(asked ? 'debug' : 'error', `seed of "${slave.name}": ${text}`, { slave: slave.name })
  }

  /** One connection. Resolves with the length of the copy when the slave has checked it. */
  async #attempt(job: Job): Promise<number> {
    const { disk, network, clock } = this.#platform
    const { link, name } = this.#config
    const key = link.keyPath === null ? null : await readKey(this.#platform, link.keyPath)
    const connection = await network.connect(job.slave.address, key, link.timeoutMs)
    const call = new SeedCall(connection, clock, link, this.#stop.signal)
    try {
      const mark = await readDurableMark(disk, this.#layout.log)
      if (mark === null) throw new HotBackupError('ERR_LINK_SEED', 'the master holds nothing yet')
      const log = new OwnLog(disk, this.#layout.log)
      const { durable, ...history } = await log.describe(mark)
      const serverId = await readServerId(disk, this.#layout)
      const { ordered } = job
      const position = { durableTxn: durable.txn, ...history }
      const names = { serverName: name, slaveName: job.slave.name }
      call.send({ name: 'seed', ordered, ...names, serverId, ...position })
      const state = await call.state()
      const staged = (await this.#stagedBefore(job)) ?? (await this.#stage(job))
      const known = Buffer.from(state.imageId).equals(staged.id)
      await this.#send(job, call, staged, known ? state.offset : 0)
      return staged.totalBytes
    } finally {
      call.close()
    }
  }

  /** What was made before and can still be used: the log behind it is kept from now on, if it is there yet. */
  async #stagedBefore({ slave }: Job): Promise<StagedImage | null> {
    const { disk } = this.#platform
    const staged = await readStaged(disk, this.#layout, slave.name)
    if (staged === null) return null
    await writeSeedHold(disk, this.#layout.slaves, slave.name, staged.manifest.lastTxn)
    return readStaged(disk, this.#layout, slave.name)
  }

  async #stage(job: Job): Promise<StagedImage> {
    const pace = this.#pace()
    const counted = { done: 0, total: 0 }
    const show = (step: 'copying' | 'checking') => {
      const { done, total } = counted
      job.status = { step, bytes: done, totalBytes: Math.max(done, total) }
    }
    const took = (step: 'copying' | 'checking') => async (bytes: number) => {
      counted.done += bytes
      show(step)
      this.#stop.signal.throwIfAborted()
      await pace(bytes)
    }
    const tempo: ImageTempo = {
      expect: bytes => {
        counted.total += bytes
      },
      took: took('copying'),
    }
    const text = `a copy of the database is made for "${job.slave.name}"`
    this.#say('info', text, { slave: job.slave.name })
    const { name } = job.slave
    const checking = { took: took('copying') }
    return stageImage(this.#platform, this.#layout, this.#config, name, tempo, checking)
  }

  async #send(job: Job, call: SeedCall, image: StagedImage, offset: number): Promise<void> {
    const { id: imageId, totalBytes, manifestBytes } = image
    call.begin({
      name: 'seed-image',
      imageId,
      totalBytes,
      offset,
      manifestBytes: manifestBytes.length,
    })
    const pace = this.#pace()
    let sent = offset
    const piece = async (bytes: Uint8Array): Promise<void> => {
      for (let start = 0; start < bytes.length; start += seedDataBytesMax) {
        const data = bytes.subarray(start, start + seedDataBytesMax)
        await call.room(() => sent - Math.max(call.durable, offset) < windowBytes)
        call.send({ name: 'seed-data', offset: sent, data })
        sent += data.length
        job.status = { step: 'sending', bytes: Math.max(call.durable, offset), totalBytes }
        await pace(data.length)
      }
    }
    if (sent < manifestBytes.length) await piece(manifestBytes.subarray(sent))
    let start = manifestBytes.length
    for (const { path: name, bytes } of image.manifest.files) {
      if (sent < start + bytes) {
        await this.#sendFile(path.join(image.directory, name), sent - start, bytes, piece)
      }
      start += bytes
    }
    job.status = { step: 'checking', bytes: totalBytes, totalBytes }
    await call.room(() => call.durable >= totalBytes)
  }

  async #sendFile(
    name: string,
    from: number,
    end: number,
    piece: (bytes: Uint8Array) => Promise<void>,
  ): Promise<void> {
    const file: DiskFile = await this.#platform.disk.open(name, 'read')
    try {
      for (let offset = from; offset < end;) {
        // What was sent belongs to the connection until it has gone out.
        const bytes = Buffer.allocUnsafe(Math.min(readBytes, end - offset))
        const count = await file.read(bytes, 0, bytes.length, offset)
        if (count < bytes.length) {
          throw new HotBackupError('ERR_DISK', `${name} has become shorter`, { path: name })
        }
        await piece(bytes)
        offset += count
      }
    } finally {
      await file.close()
    }
  }

  /** Waits as seed_rate wants it. */
  #pace(): (bytes: number) => Promise<void> {
    const { clock } = this.#platform
    const rate = this.#config.link.seedRate
    let due = clock.monotonic()
    return async bytes => {
      if (rate === 0) return
      due = Math.max(due, clock.monotonic() - 100) + (bytes / rate) * 1000
      const delay = due - clock.monotonic()
      // Timers are coarse: small debts are gathered.
      if (delay > 20) await this.#sleep(delay)
    }
  }

  #sleep(delayMs: number): Promise<void> {
    const { signal } = this.#stop
    return new Promise((resolve, reject) => {
      const aborted = () => {
        timer.cancel()
        reject(new HotBackupError('ERR_CLOSED', 'the server stops'))
      }
      const timer = this.#platform.clock.after(delayMs, () => {
        signal.removeEventListener('abort', aborted)
        resolve()
      })
      if (signal.aborted) aborted()
      else signal.addEventListener('abort', aborted, { once: true })
    })
  }
}

/** The status of the links, with how far the copies are. */
export function withSeeds(rows: readonly ShipStatus[], seeder: Seeder | null): ShipStatus[] {
  return rows.map(row => {
    const seed = seeder?.status(row.name) ?? null
    // While it is only offered, the slave's own state says more.
    const under = seed !== null && seed.step !== 'asking'
    return { ...row, seed, state: under ? 'Sending a copy' : row.state }
  })
}
