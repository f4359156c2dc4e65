// What verification costs, and how long it takes: the rate of updates with the master's own passes and without, in
// turn, the CPU time of a pass on either side, and the time to find and repair three differences.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Master, type File } from '../src/index.ts'
import { RecordEncoder } from '../src/log/record.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { loadConfig } from '../src/config/config.ts'
import { layoutOf } from '../src/config/layout.ts'
import { closeSlaveData, openSlaveData, startReplayer } from '../src/replay/slave-parts.ts'
import { cpuSeconds, hb, pidOf, startShipper, type Pair } from './servers.ts'
import { itemId, itemValue, moduloFor, randomNumbers, sized, tiny } from './workload.ts'

export interface VerificationResult {
  /** Updates a second, applied on the slave at the end. */
  readonly without: number
  readonly beside: number
  /** Of one whole pass, seconds. */
  readonly masterCpu: number
  readonly slaveCpu: number
  readonly passSeconds: number
  readonly findSeconds: number
  readonly repairSeconds: number
}

const rounds = tiny ? 1 : 3
const roundUpdates = sized(400_000)
const outstanding = 8192

export async function measureVerification(pair: Pair, items: number): Promise<VerificationResult> {
  setVerifyInterval(pair, 'off')
  const first = await Master.open(pair.master)
  const account = await first.createAccount('BENCH')
  const file = await account.createFile('F', { modulo: moduloFor(items) })
  for (let i = 0; i < items; i++) {
    const written = file.write(itemId(i), itemValue(i))
    if (i % outstanding === 0) await written
  }
  await first.close()
  await hb('start', '-d', pair.slave)
  await startShipper(pair.master)
  await hb('wait', '-d', pair.master, '--timeout', '600')
  const rates = { off: [] as number[], '10s': [] as number[] }
  for (let round = 0; round < 2 * rounds; round++) {
    const interval = round % 2 === 0 ? 'off' : '10s'
    setVerifyInterval(pair, interval)
    const master = await Master.open(pair.master)
    rates[interval].push(await updates(pair, master.account('BENCH').file('F'), items, round))
    await master.close()
  }
  setVerifyInterval(pair, 'off')
  const master = await Master.open(pair.master)
  const slave = await pidOf(pair.slave)
  const before = [process.cpuUsage(), cpuSeconds(slave)] as const
  const passSeconds = await timed(() => hb('verify', '-d', pair.master))
  const own = process.cpuUsage(before[0])
  const masterCpu = (own.user + own.system) / 1e6
  const slaveCpu = cpuSeconds(slave) - before[1]
  await hb('stop', '-d', pair.slave)
  await damage(pair.slave)
  await hb('start', '-d', pair.slave)
  await hb('wait', '-d', pair.master, '--timeout', '600')
  const findSeconds = await timed(() => hb('verify', '-d', pair.master).catch(() => {}))
  const repairSeconds = await timed(() => hb('verify', '-d', pair.master, '--repair'))
  await master.close()
  const [without, beside] = [median(rates.off), median(rates['10s'])]
  return { without, beside, masterCpu, slaveCpu, passSeconds, findSeconds, repairSeconds }
}

/** So that the interval of the default, a day, can be reckoned from a much shorter one. */
function setVerifyInterval({ master }: Pair, interval: string): void {
  const toml = path.join(master, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
  writeFileSync(toml, text.replace(/^#? ?interval = .*$/m, `interval = "${interval}"`))
}

async function updates(pair: Pair, file: File, items: number, seed: number): Promise<number> {
  const random = randomNumbers(seed)
  const seconds = await timed(async () => {
    for (let i = 0; i < roundUpdates; i++) {
      const written = file.write(itemId(random(items)), itemValue(i))
      if (i % outstanding === 0) await written
    }
    await hb('wait', '-d', pair.master, '--timeout', '600')
  })
  return roundUpdates / seconds
}

/** One item changed, one missing, one too many, past the log of a slave that does not run. */
async function damage(directory: string): Promise<void> {
  const layout = layoutOf(directory)
  const config = await loadConfig(nodePlatform.disk, layout)
  const data = await openSlaveData(nodePlatform, layout, config, false)
  const events = { applied: () => {}, checkpointed: () => {}, failed: () => {} }
  const replayer = startReplayer(nodePlatform, layout, config, data, false, () => {}, events)
  await replayer.applyUntil({})
  const { number } = data.database.file('BENCH', 'F')!
  const encoder = new RecordEncoder(1024, 0)
  encoder.writeItem(number, itemId(17), 'changed')
  encoder.deleteItem(number, itemId(42))
  encoder.writeItem(number, 'extra', 'x')
  encoder.endTransaction()
  await replayer.applyAside(Buffer.from(encoder.bytes.subarray(0, encoder.end)))
  await replayer.stop()
  await closeSlaveData(data)
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}
