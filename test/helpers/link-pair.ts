// Masters and slaves for tests of the link: real logs, a shipper or a receiver, and nothing of the servers around.
import { strict as assert } from 'node:assert'
import { join } from 'node:path'
import { readDurableMark } from '../../src/log/durable.ts'
import type { LogIdentity } from '../../src/log/options.ts'
import { readPiece } from '../../src/log/pieces.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import { LogWriter } from '../../src/log/writer.ts'
import type { Clock } from '../../src/platform/clock.ts'
import type { Disk } from '../../src/platform/disk.ts'
import type { Address, Network, SharedKey } from '../../src/platform/network.ts'
import { nodeProcesses } from '../../src/platform/node-processes.ts'
import type { Watcher } from '../../src/platform/watch.ts'
import type { StatisticsAnswer } from '../../src/ship/questions.ts'
import { Shipper, type ShipperOptions, type ShipStatus } from '../../src/ship/shipper.ts'
import { Receiver, type ReceiverOptions } from '../../src/slave/receiver.ts'

export interface LinkWorld {
  readonly disk: Disk
  readonly network: Network
  readonly clock: Clock
  readonly watcher: Watcher
  readonly key: SharedKey | null
}

/** Changes are found by looking (see TestClock); notices of the system are another test's matter. */
export const noWatcher: Watcher = { watch: () => ({ close: () => Promise.resolve() }) }

export const identity = (fill: number): Uint8Array => new Uint8Array(16).fill(fill)

export const historyOne: LogIdentity = {
  databaseId: identity(0xdb),
  lineageId: identity(0x11),
  timeline: 1,
}

const logOptions = {
  fsync: { kind: 'commit' },
  segmentBytes: 2048,
  knownDurableTxn: 0,
} as const

export interface Said {
  readonly level: string
  readonly message: string
  readonly code: unknown
}

/** The log of a server, and what was said about its links. */
class Server {
  readonly world: LinkWorld
  readonly directory: string
  readonly log: LogWriter
  readonly said: Said[] = []

  constructor(world: LinkWorld, directory: string, log: LogWriter) {
    this.world = world
    this.directory = directory
    this.log = log
  }

  /** Transactions of one record, each in a block of its own. Resolves when readers may see them. */
  async put(count: number, valueBytes = 20): Promise<void> {
    for (let index = 0; index < count; index++) {
      const records = this.log.begin()
      this.log.ensureMapped(1, { account: 'a', file: 'f', modulo: 1 })
      records.writeItem(1, `id${this.log.lastTxn}`, Buffer.alloc(valueBytes, index))
      this.log.commit()
      await this.log.synced()
    }
    const published = () => readDurableMark(this.world.disk, join(this.directory, 'log'))
    while ((await published())?.txn !== this.log.lastTxn) await new Promise(setImmediate)
  }

  protected readonly say = (
    level: string,
    message: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): void => {
    this.said.push({ level, message, code: fields['code'] })
  }
}

export class Master extends Server {
  #shipper: Shipper | null = null

  static async open(
    world: LinkWorld,
    directory: string,
    history: LogIdentity = historyOne,
    segmentBytes: number = logOptions.segmentBytes,
  ): Promise<Master> {
    const options = { ...logOptions, segmentBytes, ownPromises: true }
    const log = await LogWriter.open(world, join(directory, 'log'), options)
    if (log.identity === null) await log.beginHistory(history)
    return new Master(world, directory, log)
  }

  async ship(
    slaves: readonly { readonly name: string; readonly address: Address }[],
    options: Partial<ShipperOptions> = {},
  ): Promise<Shipper> {
    let seed = 0
    const random = { bytes: (length: number) => new Uint8Array(length).fill(seed++) }
    this.#shipper = await Shipper.start(
      { ...this.world, random, processes: nodeProcesses },
      {
        directory: this.directory,
        name: 'alpha',
        serverId: identity(1),
        slaves,
        key: this.world.key,
        upstream: [],
        log: this.say,
        ...options,
      },
    )
    return this.#shipper
  }

  status(index = 0): ShipStatus {
    const status = this.#shipper?.status()[index]
    assert(status !== undefined)
    return status
  }

  statistics(slave = 'beta'): Promise<StatisticsAnswer> {
    assert(this.#shipper !== null)
    return this.#shipper.statistics(slave)
  }

  async hangUp(): Promise<void> {
    await this.#shipper?.stop()
    this.#shipper = null
  }

  async close(): Promise<void> {
    await this.hangUp()
    await this.log.close()
  }
}

/** What slaves tell of themselves. */
export const differencesStatus = { comparedTxn: 7, pass: null, known: 0, more: 2 }

export const statistics = {
  since: 1_700_000_000_000,
  transactions: 60,
  lost: 1,
  leftOut: 2,
  itemBytes: 2 ** 40,
  records: [58, 2, 1],
}

export class Slave extends Server {
  readonly receiver: Receiver
  applied = { txn: 0, time: 0 }

  constructor(world: LinkWorld, directory: string, log: LogWriter, receiver: Receiver) {
    super(world, directory, log)
    this.receiver = receiver
  }

  static async open(
    world: LinkWorld,
    directory: string,
    options: Partial<ReceiverOptions> = {},
  ): Promise<Slave> {
    const log = await LogWriter.open(world, join(directory, 'log'), {
      ...logOptions,
      ownPromises: false,
    })
    let slave: Slave | null = null
    const receiver = await Receiver.start(world, {
      name: 'beta',
      serverId: identity(2),
      key: world.key,
      listen: { host: '127.0.0.1', port: 0 },
      log,
      appliedTxn: () => slave?.applied.txn ?? 0,
      appliedTime: () => slave?.applied.time ?? 0,
      statistics: () => statistics,
      piece: question => readPiece(world.disk, join(directory, 'log'), question),
      differences: start => ({ status: differencesStatus, start, rows: [] }),
      group: () => ({ total: 0, digest: new Uint8Array(32), data: new Uint8Array() }),
      logger: (level, message, fields) => slave?.say(level, message, fields),
      ...options,
    })
    slave = new Slave(world, directory, log, receiver)
    return slave
  }

  get target(): { readonly name: string; readonly address: Address } {
    return { name: 'beta', address: this.receiver.address }
  }

  apply(txn: number, time: number): void {
    this.applied = { txn, time }
    this.receiver.ackSoon()
  }

  async close(): Promise<void> {
    await this.receiver.stop()
    await this.log.close()
  }
}

/** Turns of the event loop until it is so. */
export async function until(
  what: string,
  condition: () => boolean,
  turns = 200_000,
): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    if (condition()) return
    await new Promise(setImmediate)
  }
  throw new Error(`it never came to pass: ${what}`)
}

/** Waits by the real clock, for real networks. */
export async function untilReal(what: string, condition: () => boolean): Promise<void> {
  const deadline = process.hrtime.bigint() + 20_000_000_000n
  while (!condition()) {
    if (process.hrtime.bigint() > deadline) throw new Error(`it never came to pass: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}

/** Name and bytes of each segment, without what is preallocated behind the last block. */
export async function segmentsOf(server: Server): Promise<readonly (readonly [string, string])[]> {
  const { disk } = server.world
  const found: [string, string][] = []
  for (const { path } of await segmentFiles(disk, join(server.directory, 'log'))) {
    const file = await disk.open(path, 'read')
    const bytes = Buffer.alloc(file.size())
    await file.read(bytes, 0, bytes.length, 0)
    await file.close()
    const isLast = path === server.log.segments().at(-1)?.path
    const end = isLast ? (server.log.segments().at(-1)?.bytes ?? 0) : bytes.length
    found.push([path.slice(-20), bytes.toString('base64', 0, end)])
  }
  return found
}
