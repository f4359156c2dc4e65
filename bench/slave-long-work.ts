// What updates and reads of a slave feel of long work there: how fast it applies what is for other files while it
// resizes or clears a large one, against its rate without, and the longest read. The master writes everything first,
// while the slave does not apply; then the slave alone works, with its helper.
import { setTimeout as sleep } from 'node:timers/promises'
import { Master, type File } from '../src/index.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { ask } from '../src/control/operation.ts'
import { readOperations } from '../src/data/data-operations.ts'
import { status } from '../src/control/status-operation.ts'
import { ControlClient } from '../src/control/control-client.ts'
import { layoutOf } from '../src/config/layout.ts'
import { hb, type Pair } from './servers.ts'
import { itemId, itemValue, moduloFor, percentile, randomNumbers, sized } from './workload.ts'

export interface SlaveLongWork {
  readonly operation: string
  /** Updates of the other file that the slave applied in a second: without the work, and beside it. */
  readonly without: number
  readonly beside: number
  /** How long the work took, seconds. */
  readonly seconds: number
  /** Of reads over the control socket, milliseconds. */
  readonly readsWithout: ReadTimes
  readonly readsBeside: ReadTimes
}

export interface ReadTimes {
  readonly p99: number
  readonly longest: number
}

const otherItems = sized(100_000)
const outstanding = 8192
/** So many before the work, and so many behind it: more than the slave applies while it works. */
const updatesBefore = sized(2_000_000)
const updatesBehind = sized(8_000_000)
const askEveryMs = 3

/** Both servers run, and nobody else uses them. */
export async function measureSlaveLongWork(pair: Pair, items: number): Promise<SlaveLongWork[]> {
  const master = await Master.open(pair.master)
  const account = await master.createAccount('BENCH')
  const large = await account.createFile('LARGE', { modulo: moduloFor(items) })
  const other = await account.createFile('OTHER', { modulo: moduloFor(otherItems) })
  await fill(large, items)
  await fill(other, otherItems)
  await hb('wait', '-d', pair.master, '--timeout', '600')
  const results: SlaveLongWork[] = []
  for (const operation of ['resize', 'clear'] as const) {
    await hb('apply', 'off', '-d', pair.slave)
    const first = master.lastTxn
    await update(other, updatesBefore)
    await (operation === 'resize' ? large.resize((moduloFor(items) * 2) | 1) : large.clear())
    await update(other, updatesBehind)
    while (master.status().holds.length > 0) await sleep(100)
    await hb('wait', '-d', pair.master, '--level', 'durable', '--timeout', '600')
    await hb('apply', 'on', '-d', pair.slave)
    results.push({ operation, ...(await watch(pair, first, master.lastTxn, items)) })
  }
  await master.close()
  return results
}

async function fill(file: File, items: number): Promise<void> {
  for (let i = 0; i < items; i++) {
    const written = file.write(itemId(i), itemValue(i))
    if (i % outstanding === 0 || i === items - 1) await written
  }
}

async function update(file: File, count: number): Promise<void> {
  const random = randomNumbers(7)
  for (let i = 0; i < count; i++) {
    const written = file.write(itemId(random(otherItems)), itemValue(i))
    if (i % outstanding === 0 || i === count - 1) await written
  }
}

/** Asks the slave how far it is, and reads from it, until it has applied all. */
async function watch(pair: Pair, first: number, last: number, items: number) {
  const client = await ControlClient.connect(nodePlatform, layoutOf(pair.slave).ownerSocket)
  if (client === null) throw new Error('the slave does not answer')
  const without = new Phase()
  const beside = new Phase()
  const random = randomNumbers(8)
  let before = { txn: first, time: performance.now(), working: false }
  while (before.txn < last) {
    const due = performance.now() + askEveryMs
    await sleep(askEveryMs)
    // From when the first was due: what kept this process from asking is not the slave's.
    const start = Math.max(due, performance.now())
    await read(client, 'OTHER', itemId(random(otherItems)))
    await read(client, 'LARGE', itemId(random(items)))
    const time = performance.now()
    const phase = before.working ? beside : without
    phase.reads.push(time - start)
    const now = { ...(await progressOf(client)), time }
    if (now.working === before.working) {
      phase.applied += now.txn - before.txn
      phase.seconds += (now.time - before.time) / 1000
    }
    before = now
  }
  client.close()
  return {
    without: without.applied / without.seconds,
    beside: beside.applied / beside.seconds,
    seconds: beside.seconds,
    readsWithout: without.readTimes(),
    readsBeside: beside.readTimes(),
  }
}

/** What was seen while there was long work, or while there was none. */
class Phase {
  /** Milliseconds for one of each file. */
  readonly reads: number[] = []
  applied = 0
  seconds = 0

  readTimes(): ReadTimes {
    return { p99: percentile(this.reads, 0.99), longest: Math.max(...this.reads) }
  }
}

async function progressOf(client: ControlClient) {
  const { slave } = await ask(client, status, {})
  if (slave === undefined) throw new Error('no slave')
  return { txn: slave.apply.appliedTxn, working: slave.holds.length > 0 }
}

async function read(client: ControlClient, file: string, id: string): Promise<void> {
  try {
    const args = { account: 'BENCH', file }
    await ask(client, readOperations.readItem, { ...args, body: Buffer.from(id) })
  } catch {
    // A cleared file has no such item.
  }
}
