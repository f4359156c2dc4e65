// One scenario on one master, in a process of its own, so that CPU time and peak memory are its own. The runner
// (main.ts) starts it with the scenario's name and a JSON argument, and reads one JSON line.
import { closeSync, fdatasyncSync, fsyncSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { Master, type File } from '../src/index.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { layoutOf } from '../src/config/layout.ts'
import { readAck } from '../src/ship/ack-file.ts'
import { measureLongWork, type LongWorkResult } from './long-work.ts'
import { itemId, itemValue, moduloFor, percentile, randomNumbers, sized } from './workload.ts'

export interface WorkerArguments {
  readonly directory: string
  readonly items: number
  readonly updates: number
  /** Updates under way at once. */
  readonly outstanding: number
  /** Instead of as fast as it goes. */
  readonly perSecond?: number
}

export interface WorkerResult {
  readonly seconds: number
  readonly count: number
  readonly cpuSeconds: number
  readonly peakMiB: number
  /** Milliseconds for one operation, where they were taken. */
  readonly p50?: number
  readonly p99?: number
  readonly longWork?: readonly LongWorkResult[]
}

const warmUpWrites = sized(3000)

const scenarios: Readonly<Record<string, (args: WorkerArguments) => Promise<WorkerResult>>> = {
  bare,
  load,
  waiting,
  pipelined,
  streamed,
  reads,
  writeUntilKilled,
  firstRead,
  longWork,
}

/** What the disk and Node give at best: write + fdatasync, 200 bytes, into written space. */
async function bare({ directory, updates }: WorkerArguments): Promise<WorkerResult> {
  const fd = openSync(path.join(directory, 'bare.tmp'), 'w+')
  writeSync(fd, Buffer.alloc(16 << 20))
  fsyncSync(fd)
  const bytes = Buffer.alloc(200, 7)
  return measure(updates, async samples => {
    for (let i = 0; i < updates; i++) {
      const start = performance.now()
      writeSync(fd, bytes, 0, bytes.length, (i * 200) % (16 << 20))
      fdatasyncSync(fd)
      samples.push(performance.now() - start)
    }
    closeSync(fd)
  })
}

/** Fills the file with every item once. */
async function load(args: WorkerArguments): Promise<WorkerResult> {
  return withFile(args, file =>
    measure(args.items, () =>
      pipeline(args.items, args.outstanding, i => file.write(itemId(i), itemValue(i))),
    ),
  )
}

/** `outstanding` writers, each waiting for its own write. */
async function waiting(args: WorkerArguments): Promise<WorkerResult> {
  const random = randomNumbers(1)
  return withFile(args, async file => {
    const write = async (samples: number[], updates: number) => {
      let left = updates
      const writer = async () => {
        while (left-- > 0) {
          const start = performance.now()
          await file.write(itemId(random(args.items)), itemValue(left))
          samples.push(performance.now() - start)
        }
      }
      await Promise.all(Array.from({ length: args.outstanding }, writer))
    }
    // Until the code is compiled, and the next segment, which is made when the log is opened, is there.
    await write([], warmUpWrites)
    return measure(args.updates, samples => write(samples, args.updates))
  })
}

async function pipelined(args: WorkerArguments): Promise<WorkerResult> {
  const random = randomNumbers(2)
  return withFile(args, file =>
    measure(args.updates, () =>
      pipeline(args.updates, args.outstanding, i =>
        file.write(itemId(random(args.items)), itemValue(i)),
      ),
    ),
  )
}

/** Like pipelined, and ends when the slave has applied the last update. */
async function streamed(args: WorkerArguments): Promise<WorkerResult> {
  const random = randomNumbers(2)
  const acks = layoutOf(args.directory).slaves
  return withFile(args, (file, master) =>
    measure(args.updates, async () => {
      await pipeline(args.updates, args.outstanding, i =>
        file.write(itemId(random(args.items)), itemValue(i)),
      )
      for (;;) {
        const ack = await readAck(nodePlatform.disk, acks, 'beta')
        if (ack !== null && ack.appliedTxn >= master.lastTxn) return
        await new Promise(resolve => setTimeout(resolve, 5))
      }
    }),
  )
}

async function reads(args: WorkerArguments): Promise<WorkerResult> {
  const random = randomNumbers(3)
  return withFile(args, async file => {
    const read = async (count: number) => {
      for (let i = 0; i < count; i++) await file.read(itemId(random(args.items)))
    }
    await read(args.items)
    return measure(args.updates, () => read(args.updates))
  })
}

/** Says so after `updates` updates, and goes on, at full speed or at a rate, until somebody ends it. */
async function writeUntilKilled(args: WorkerArguments): Promise<WorkerResult> {
  const random = randomNumbers(4)
  return withFile(args, async file => {
    if (args.perSecond !== undefined) return writeSteadily(args, args.perSecond, file)
    await pipeline(args.updates, args.outstanding, i =>
      file.write(itemId(random(args.items)), itemValue(i)),
    )
    process.stdout.write('ready\n')
    await pipeline(1e9, args.outstanding, i => file.write(itemId(random(args.items)), itemValue(i)))
    throw new Error('nobody ended it')
  })
}

async function writeSteadily(args: WorkerArguments, perSecond: number, file: File): Promise<never> {
  const random = randomNumbers(4)
  const start = performance.now()
  for (let i = 0; ; i++) {
    if (i === args.updates) process.stdout.write('ready\n')
    const due = start + (i * 1000) / perSecond
    while (performance.now() < due) await new Promise(resolve => setTimeout(resolve, 1))
    void file.write(itemId(random(args.items)), itemValue(i))
  }
}

/** The file is full. */
async function longWork(args: WorkerArguments): Promise<WorkerResult> {
  return withFile(args, async (file, master) => {
    let longWork: LongWorkResult[] = []
    const result = await measure(1, async () => {
      longWork = await measureLongWork(master, file)
    })
    return { ...result, longWork }
  })
}

/** From the call of open to the first answer. */
async function firstRead(args: WorkerArguments): Promise<WorkerResult> {
  let master: Master | undefined
  const result = await measure(1, async () => {
    master = await Master.open(args.directory)
    await master.account('BENCH').file('CUSTOMERS').read(itemId(1))
  })
  await master?.close()
  return result
}

async function withFile<T>(
  args: WorkerArguments,
  work: (file: File, master: Master) => Promise<T>,
): Promise<T> {
  const master = await Master.open(args.directory)
  if (!master.accounts().includes('BENCH')) {
    const account = await master.createAccount('BENCH')
    await account.createFile('CUSTOMERS', { modulo: moduloFor(args.items) })
  }
  const result = await work(master.account('BENCH').file('CUSTOMERS'), master)
  await master.close()
  return result
}

/** Keeps about `outstanding` writes under way: waits for the older half when there are so many. */
async function pipeline(count: number, outstanding: number, write: (i: number) => Promise<void>) {
  const half = Math.max(1, outstanding >> 1)
  let older = Promise.resolve()
  let newer = Promise.resolve()
  for (let i = 0; i < count; i++) {
    newer = write(i)
    if (i % half === half - 1) {
      await older
      older = newer
    }
  }
  await newer
}

async function measure(
  count: number,
  work: (samples: number[]) => Promise<unknown>,
): Promise<WorkerResult> {
  const samples: number[] = []
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  await work(samples)
  const seconds = (performance.now() - start) / 1000
  const cpu = process.cpuUsage(cpuBefore)
  return {
    seconds,
    count,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    peakMiB: process.resourceUsage().maxRSS / 1024,
    ...(samples.length > 0 && { p50: percentile(samples, 0.5), p99: percentile(samples, 0.99) }),
  }
}

const [name = '', json = '{}'] = process.argv.slice(2)
const scenario = scenarios[name]
if (scenario === undefined) throw new TypeError(`no scenario ${name}`)
const result = await scenario(JSON.parse(json) as WorkerArguments)
process.stdout.write(`${JSON.stringify(result)}\n`)
