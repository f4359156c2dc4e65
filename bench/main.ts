// Runs every benchmark and prints one table: "npm run bench", or "npm run bench -- stream lag" for some of them.
// Each scenario runs in processes of its own, against servers made by the commands that a person would use.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus, totalmem } from 'node:os'
import { promisify } from 'node:util'
import { measureLag } from './lag.ts'
import type { ReadTimes } from './long-work.ts'
import { cpuSeconds, hb, Pair, peakMiB, pidOf, startShipper } from './servers.ts'
import { measureSlaveLongWork } from './slave-long-work.ts'
import { floods, measureFlood } from './strangers.ts'
import { measureVerification } from './verification.ts'
import type { WorkerArguments, WorkerResult } from './worker.ts'
import { lasting, sized, tiny, updateBytes } from './workload.ts'

const run = promisify(execFile)
const workerPath = new URL('worker.js', import.meta.url).pathname

interface Row {
  readonly what: string
  readonly perSecond?: number
  readonly mbPerSecond?: number
  readonly cpuPerMillion?: number
  readonly peakMiB?: string
  readonly note?: string
}

const benchmarks: Readonly<Record<string, () => Promise<Row[]>>> = {
  durable: benchDurable,
  pipelined: benchPipelined,
  stream: benchStream,
  catchup: benchCatchUp,
  logverify: benchLogVerify,
  verify: benchVerification,
  lag: benchLag,
  reads: benchReads,
  restart: benchRestart,
  growth: benchGrowth,
  longwork: benchLongWork,
  slavelongwork: benchSlaveLongWork,
  memory: benchMemory,
  strangers: benchStrangers,
}

async function benchDurable(): Promise<Row[]> {
  return withAlone(async directory => {
    await worker('load', { directory, items: sized(200_000), outstanding: 8192 })
    const updates = sized(5000)
    const rows: Row[] = []
    const ratios: number[] = []
    // In turn, because the disk's speed drifts.
    for (let round = 0; round < 3; round++) {
      const bare = await worker('bare', { directory, updates })
      const one = await worker('waiting', {
        directory,
        items: sized(200_000),
        updates,
        outstanding: 1,
      })
      ratios.push(bare.seconds / one.seconds)
      if (round < 2) continue
      rows.push(rowOf('bare write + fdatasync in Node', bare))
      rows.push(
        rowOf(
          'durable write, 1 writer waiting',
          one,
          `${percent(median(ratios))} of bare (median of 3)`,
        ),
      )
    }
    const many = await worker('waiting', {
      directory,
      items: sized(200_000),
      updates: sized(300_000),
      outstanding: 64,
    })
    rows.push(rowOf('durable write, 64 writers waiting', many))
    return rows
  })
}

async function benchLongWork(): Promise<Row[]> {
  const items = sized(5_000_000)
  return withAlone(async directory => {
    await worker('load', { directory, items, outstanding: 8192 })
    const { longWork = [], peakMiB: peak } = await worker('longWork', { directory, items })
    const ms = ({ large, other }: ReadTimes) => `${large.toFixed(1)} and ${other.toFixed(1)} ms`
    return longWork.map(({ operation, without, beside, seconds, readsWithout, readsBeside }) => ({
      what: `updates beside the ${operation} of a file with ${items.toLocaleString('en')} items`,
      perSecond: beside,
      peakMiB: String(Math.round(peak)),
      note: `${percent(beside / without)} of ${Math.round(without).toLocaleString('en')} without; ${seconds.toFixed(1)} s; longest read of that file and of another: ${ms(readsBeside)}, without the work ${ms(readsWithout)}`,
    }))
  })
}

async function benchPipelined(): Promise<Row[]> {
  const rows: Row[] = []
  for (const items of [200_000, 1_000_000].map(sized)) {
    rows.push(
      await withAlone(async directory => {
        await worker('load', { directory, items, outstanding: 8192 })
        const result = await worker('pipelined', {
          directory,
          items,
          updates: sized(2_000_000),
          outstanding: 8192,
        })
        return rowOf(`durable write, 8,192 under way, ${items.toLocaleString('en')} items`, result)
      }),
    )
  }
  return rows
}

/** Work that is done sooner is not felt, and nothing can be measured beside it. */
const shortestSeconds = 1

async function benchSlaveLongWork(): Promise<Row[]> {
  const items = sized(5_000_000)
  return withPair(async pair => {
    await startBoth(pair)
    const results = await measureSlaveLongWork(pair, items)
    return results.map(({ operation, without, beside, seconds, readsWithout, readsBeside }) => {
      const what = `catch-up of a slave beside the ${operation} of a file with ${items.toLocaleString('en')} items`
      const reads = `two reads, without the work: p99 ${readsWithout.p99.toFixed(1)}, longest ${readsWithout.longest.toFixed(1)} ms`
      if (seconds < shortestSeconds) return { what, note: `${seconds.toFixed(1)} s; ${reads}` }
      return {
        what,
        perSecond: beside,
        note: `${percent(beside / without)} of ${Math.round(without).toLocaleString('en')} without; ${seconds.toFixed(1)} s; ${reads}; beside it: ${readsBeside.p99.toFixed(1)} and ${readsBeside.longest.toFixed(1)} ms`,
      }
    })
  })
}

async function benchStream(): Promise<Row[]> {
  const rows: Row[] = []
  for (const items of [200_000, 1_000_000].map(sized)) {
    rows.push(
      await withPair(async pair => {
        const directory = pair.master
        await startBoth(pair)
        await worker('load', { directory, items, outstanding: 8192 })
        await hb('wait', '-d', directory, '--timeout', '300')
        const pids = [await pidOf(directory), await pidOf(pair.slave)]
        const before = pids.map(cpuSeconds)
        const result = await worker('streamed', {
          directory,
          items,
          updates: sized(2_000_000),
          outstanding: 8192,
        })
        const [shipper = 0, slave = 0] = pids.map((pid, i) => cpuSeconds(pid) - (before[i] ?? 0))
        const cpu = result.cpuSeconds + shipper + slave
        const parts = [result.cpuSeconds, shipper, slave].map(seconds => seconds.toFixed(1))
        return {
          ...rowOf(
            `stream, applied on the slave, ${items.toLocaleString('en')} items`,
            { ...result, cpuSeconds: cpu },
            `CPU s of master + shipper + slave: ${parts.join(' + ')}`,
          ),
          peakMiB: [result.peakMiB, ...pids.map(peakMiB)].map(Math.round).join(' + '),
        }
      }),
    )
  }
  return rows
}

async function benchCatchUp(): Promise<Row[]> {
  return withPair(async pair => {
    const items = sized(1_000_000)
    const updates = sized(2_000_000)
    await startBoth(pair)
    await worker('load', { directory: pair.master, items, outstanding: 8192 })
    await hb('wait', '-d', pair.master, '--timeout', '300')
    await hb('stop', '-d', pair.slave)
    await worker('pipelined', { directory: pair.master, items, updates, outstanding: 8192 })
    // What was written before must not be on its way to the disk still.
    await run('sync')
    await hb('start', '-d', pair.slave)
    const start = performance.now()
    await hb('wait', '-d', pair.master, '--timeout', '300')
    const seconds = (performance.now() - start) / 1000
    const [shipper, slave] = [await pidOf(pair.master), await pidOf(pair.slave)]
    const result = { seconds, count: updates, cpuSeconds: cpuSeconds(slave), peakMiB: 0 }
    const row = rowOf(
      'catch-up of a slave that was away, 1,000,000 items',
      result,
      'CPU: slave alone, with its start',
    )
    return [{ ...row, peakMiB: [shipper, slave].map(pid => Math.round(peakMiB(pid))).join(' + ') }]
  })
}

async function benchLogVerify(): Promise<Row[]> {
  return withPair(async pair => {
    await worker('load', { directory: pair.master, items: sized(3_000_000), outstanding: 8192 })
    const status = JSON.parse(await hb('status', '-d', pair.master, '--json')) as {
      log: { bytes: number }
    }
    const startUp = await timed(() => hb('log', 'list', '-d', pair.master))
    const seconds = Math.min(
      await timed(() => hb('log', 'verify', '-d', pair.master)),
      await timed(() => hb('log', 'verify', '-d', pair.master)),
    )
    return [
      {
        what: 'hb log verify, page cache',
        mbPerSecond: status.log.bytes / 1e6 / (seconds - startUp),
        note: `${Math.round(status.log.bytes / 1e6)} MB, without ${startUp.toFixed(2)} s start of the command`,
      },
    ]
  })
}

async function benchVerification(): Promise<Row[]> {
  const items = sized(1_000_000)
  return withPair(async pair => {
    const found = await measureVerification(pair, items)
    const { without, beside, masterCpu, slaveCpu, passSeconds, findSeconds, repairSeconds } = found
    const many = items.toLocaleString('en')
    return [
      {
        what: `stream, applied on the slave, ${many} items, verified every 10 s`,
        perSecond: beside,
        note: `${percent(beside / without)} of ${Math.round(without).toLocaleString('en')} without (medians of 3, in turn)`,
      },
      {
        what: `hb verify, ${many} items`,
        perSecond: items / passSeconds,
        note: `${passSeconds.toFixed(1)} s; CPU s of master + slave: ${masterCpu.toFixed(2)} + ${slaveCpu.toFixed(2)}`,
      },
      {
        what: `hb verify, 3 differences among ${many} items`,
        note: `found in ${findSeconds.toFixed(1)} s; found and repaired in ${repairSeconds.toFixed(1)} s`,
      },
    ]
  })
}

async function benchLag(): Promise<Row[]> {
  return withPair(async pair => {
    await startBoth(pair)
    const lag = await measureLag(pair, {
      items: sized(200_000),
      perSecond: 1000,
      seconds: lasting(20),
    })
    return [
      {
        what: 'lag, durable on the master to readable on the slave, 1,000 updates/s',
        note: `p50 ${lag.p50.toFixed(2)} ms, p99 ${lag.p99.toFixed(2)} ms, ${lag.samples} samples, ${lag.checkpoints} checkpoint(s) on the slave meanwhile`,
      },
    ]
  })
}

async function benchStrangers(): Promise<Row[]> {
  const rows: Row[] = []
  // The kinds of strangers are those of the tests.
  for (const options of tiny ? floods.slice(-1) : floods) {
    const attempts = lasting(50)
    const row = await withPair(async pair => {
      await hb('start', '-d', pair.slave)
      const pid = await pidOf(pair.slave)
      const found = await measureFlood(pair, pair.port, pid, { ...options, attempts })
      const { kind, addresses, known } = options
      const where = addresses === 1 ? "the master's address" : `${addresses} addresses`
      return {
        what: `strangers: ${kind}, from ${where}${known ? '' : '; the master is new'}`,
        perSecond: found.strangersPerSecond,
        note: `the master got in ${found.connected} of ${attempts} times, in ${found.medianMs.toFixed(0)} ms (median); the slave has ${found.descriptorsMax} descriptors, ${found.residentMiB.toFixed(0)} MiB, ${percent(found.cpu)} of a processor`,
      }
    })
    rows.push(row)
  }
  return rows
}

async function benchReads(): Promise<Row[]> {
  return withAlone(async directory => {
    await worker('load', { directory, items: sized(1_000_000), outstanding: 8192 })
    const result = await worker('reads', {
      directory,
      items: sized(1_000_000),
      updates: sized(2_000_000),
    })
    return [rowOf('point reads, warm, 1,000,000 items', result)]
  })
}

async function benchRestart(): Promise<Row[]> {
  return withAlone(async directory => {
    const items = sized(1_000_000)
    await worker('load', { directory, items, outstanding: 8192 })
    const rows: Row[] = []
    for (const perSecond of [10_000, undefined]) {
      const seconds: number[] = []
      for (let round = 0; round < 3; round++) {
        const updates =
          perSecond === undefined
            ? sized(700_000 + round * 200_000)
            : sized(90_000 + round * 30_000)
        const args = { directory, items, updates, outstanding: 8192, perSecond }
        const child = spawn(process.execPath, [
          workerPath,
          'writeUntilKilled',
          JSON.stringify(args),
        ])
        await once(child.stdout, 'data')
        child.kill('SIGKILL')
        await once(child, 'exit')
        seconds.push((await worker('firstRead', { directory, items })).seconds)
      }
      const rate =
        perSecond === undefined ? 'as fast as it goes' : `${perSecond.toLocaleString('en')}/s`
      const note = `${seconds.map(s => s.toFixed(2)).join(', ')} s from open to the first answer`
      rows.push({ what: `restart after kill -9, 1,000,000 items, writing ${rate}`, note })
    }
    return rows
  })
}

async function benchGrowth(): Promise<Row[]> {
  const rows: Row[] = []
  let first: number | undefined
  for (const items of [10_000, 100_000, 1_000_000, 10_000_000].map(sized)) {
    rows.push(
      await withAlone(async directory => {
        await worker('load', { directory, items, outstanding: 8192 })
        const result = await worker('pipelined', {
          directory,
          items,
          updates: sized(2_000_000),
          outstanding: 8192,
        })
        first ??= result.cpuSeconds
        const note = `CPU ${(result.cpuSeconds / first).toFixed(2)} × that of 10,000 items`
        return rowOf(`cost per update, ${items.toLocaleString('en')} items`, result, note)
      }),
    )
  }
  return rows
}

async function benchMemory(): Promise<Row[]> {
  return withAlone(async directory => {
    const { readFile, writeFile } = await import('node:fs/promises')
    const toml = `${directory}/hb.toml`
    const text = await readFile(toml, 'utf8')
    await writeFile(toml, text.replace(/^#?\s*cache_size.*$/m, 'cache_size = "256MiB"'))
    const result = await worker('load', { directory, items: sized(4_000_000), outstanding: 1024 })
    return [rowOf('memory: cache_size 256 MiB, loading 4,000,000 items', result, 'bound: 356 MiB')]
  })
}

async function worker(scenario: string, args: Partial<WorkerArguments>): Promise<WorkerResult> {
  const full = { directory: '', items: 0, updates: 0, outstanding: 1, ...args }
  const { stdout } = await run(process.execPath, [workerPath, scenario, JSON.stringify(full)])
  return JSON.parse(stdout) as WorkerResult
}

async function withAlone<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const pair = await Pair.alone()
  try {
    return await work(pair.master)
  } finally {
    await pair.remove()
  }
}

async function withPair<T>(work: (pair: Pair) => Promise<T>): Promise<T> {
  const pair = await Pair.make()
  try {
    return await work(pair)
  } finally {
    await pair.remove()
  }
}

async function startBoth(pair: Pair): Promise<void> {
  await hb('start', '-d', pair.slave)
  await startShipper(pair.master)
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

function rowOf(what: string, result: WorkerResult, note = ''): Row {
  const { count, seconds, p50, p99 } = result
  const latency =
    p50 === undefined || p99 === undefined
      ? ''
      : `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`
  return {
    what,
    perSecond: count / seconds,
    mbPerSecond: (count * updateBytes) / 1e6 / seconds,
    cpuPerMillion: (result.cpuSeconds / count) * 1e6,
    peakMiB: String(Math.round(result.peakMiB)),
    note: [note, latency].filter(text => text !== '').join('; '),
  }
}

function print(row: Row): void {
  const cells = [
    row.what,
    row.perSecond === undefined ? '' : Math.round(row.perSecond).toLocaleString('en'),
    row.mbPerSecond?.toFixed(0) ?? '',
    row.cpuPerMillion?.toFixed(2) ?? '',
    row.peakMiB ?? '',
    row.note ?? '',
  ]
  console.log(`| ${cells.join(' | ')} |`)
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`
}

// Last: what runs needs everything above.
const asked = process.argv.slice(2)
const unknown = asked.find(name => benchmarks[name] === undefined)
if (unknown !== undefined) {
  console.error(`no benchmark "${unknown}"; there are ${Object.keys(benchmarks).join(', ')}`)
  process.exit(2)
}
const names = asked.length > 0 ? asked : Object.keys(benchmarks)
console.log(
  `${cpus().length} × ${cpus()[0]?.model ?? '?'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}\n`,
)
console.log('| what | per second | MB/s | CPU s per million | peak MiB | |')
console.log('| --- | ---: | ---: | ---: | ---: | --- |')
for (const name of names) {
  for (const row of await benchmarks[name]!()) print(row)
}
