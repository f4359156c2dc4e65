// What the log alone can do: pipelined transactions, one writer that waits for each of its own against a bare loop of
// writeSync and fdatasyncSync, 64 such writers, and verification. Run: node .build/bench/log.js [DIRECTORY], 15 s.
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LogOptions } from '../src/log/options.ts'
import { LogWriter } from '../src/log/writer.ts'
import { verifyLog } from '../src/log/verify.ts'
import { segmentBytesDefault, unsyncedBytesMax } from '../src/limits.ts'
import { nodeClock } from '../src/platform/node-clock.ts'
import { nodeDisk } from '../src/platform/node-disk.ts'
import { lasting, sized } from './workload.ts'

const platform = { disk: nodeDisk, clock: nodeClock }
const options: LogOptions = {
  fsync: { kind: 'commit' },
  segmentBytes: segmentBytesDefault,
  knownDurableTxn: 0,
  ownPromises: true,
}
const attributes = { account: 'SALES', file: 'ORDERS', modulo: 101 }
const value = Buffer.alloc(100, 'x')
const identity = {
  databaseId: Buffer.alloc(16, 1),
  lineageId: Buffer.alloc(16, 2),
  timeline: 1,
}

async function withLog<T>(directory: string, work: (log: LogWriter) => Promise<T>): Promise<T> {
  const log = await LogWriter.open(platform, directory, options)
  if (log.identity === null) await log.beginHistory(identity)
  try {
    return await work(log)
  } finally {
    await log.close()
  }
}

function update(log: LogWriter, id: string): void {
  const encoder = log.begin()
  log.ensureMapped(1, attributes)
  encoder.writeItem(1, id, value)
  log.commit()
}

/** Waits only when 32 MiB are under way: what a program gets that waits once at the end. */
async function pipelined(log: LogWriter, count: number): Promise<number> {
  const start = performance.now()
  for (let i = 0; i < count; i++) {
    update(log, `item-${i}`)
    if (log.unsyncedBytes > unsyncedBytesMax) await log.drained()
    else if (i % 1000 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  await log.synced()
  return (count / (performance.now() - start)) * 1000
}

/** `writers` of them, each waits for each of its updates. */
async function waiting(log: LogWriter, writers: number, forMs: number): Promise<number> {
  const start = performance.now()
  let count = 0
  const writer = async (name: number) => {
    while (performance.now() - start < forMs) {
      update(log, `item-${name}-${count++}`)
      await log.synced()
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, name) => writer(name)))
  return (count / (performance.now() - start)) * 1000
}

/** The same bytes, into the same kind of file, with nothing around. */
class BareLoop {
  readonly #descriptor: number
  readonly #block = Buffer.alloc(208, 'x')
  #count = 0

  constructor(path: string) {
    this.#descriptor = fs.openSync(path, 'w')
    fs.writeSync(this.#descriptor, Buffer.alloc(segmentBytesDefault), 0, segmentBytesDefault, 0)
    fs.fsyncSync(this.#descriptor)
  }

  run(forMs: number): number {
    const block = this.#block
    const start = performance.now()
    let count = 0
    while (performance.now() - start < forMs) {
      const at = (this.#count++ * block.length) % (segmentBytesDefault - block.length)
      fs.writeSync(this.#descriptor, block, 0, block.length, at)
      fs.fdatasyncSync(this.#descriptor)
      count++
    }
    return (count / (performance.now() - start)) * 1000
  }

  close(): void {
    fs.closeSync(this.#descriptor)
  }
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? 0

const show = (what: string, perSecond: number, unit: string) =>
  console.log(
    `${what.padEnd(44)} ${Math.round(perSecond).toLocaleString('en').padStart(11)} ${unit}`,
  )

const parent = process.argv[2] ?? tmpdir()
const directory = fs.mkdtempSync(join(parent, 'hotbackup-bench-'))
try {
  const bulk = join(directory, 'bulk')
  await withLog(bulk, log => pipelined(log, sized(200_000)))
  show(
    'pipelined updates of 100 bytes',
    await withLog(bulk, log => pipelined(log, sized(1_500_000))),
    '/s',
  )

  // In turns, since the disk's mood changes within a second, and by medians.
  const bareLoop = new BareLoop(join(directory, 'bare'))
  await withLog(join(directory, 'single'), async log => {
    const bare: number[] = []
    const one: number[] = []
    for (let slice = 0; slice < lasting(60); slice++) {
      bare.push(bareLoop.run(80))
      one.push(await waiting(log, 1, 80))
    }
    show('bare writeSync and fdatasyncSync', median(bare), '/s')
    show('one writer, waiting for each update', median(one), '/s')
    show('', (100 * median(one)) / median(bare), '%')
    show('64 writers, waiting', await waiting(log, 64, lasting(2000)), '/s')
  })
  bareLoop.close()

  for (let round = 0; round < 2; round++) {
    const start = performance.now()
    const report = await verifyLog(nodeDisk, bulk)
    if (report.fault !== null) throw new Error(report.fault.message)
    const megabytes = report.bytes / 1e6
    show('verification', megabytes / ((performance.now() - start) / 1000), 'MB/s')
  }
} finally {
  fs.rmSync(directory, { recursive: true, force: true })
}
