// Lag: from "durable on the master" to "readable on the slave". This process writes at a steady rate and asks the
// slave, over its control socket, again and again for the item that it wrote last. A question takes some 0.2 ms,
// so the figures are upper bounds.
import { Master, type File } from '../src/index.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { ask } from '../src/control/operation.ts'
import { readOperations } from '../src/data/data-operations.ts'
import { ControlClient } from '../src/control/control-client.ts'
import { layoutOf } from '../src/config/layout.ts'
import { hb, type Pair } from './servers.ts'
import { itemId, itemValue, moduloFor, percentile, randomNumbers, sized } from './workload.ts'

export interface LagOptions {
  readonly items: number
  readonly perSecond: number
  readonly seconds: number
}

export interface Lag {
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly samples: number
  /** Checkpoints that the slave made meanwhile. */
  readonly checkpoints: number
}

/** A checkpoint is due after so much log; the measurement starts shortly before. */
const checkpointLogBytes = sized(64 * 2 ** 20)

export async function measureLag(pair: Pair, options: LagOptions): Promise<Lag> {
  const master = await Master.open(pair.master)
  const account = await master.createAccount('BENCH')
  const file = await account.createFile('CUSTOMERS', { modulo: moduloFor(options.items) })
  await loadUntilCheckpointIsNear(file, pair, options)
  await hb('wait', '-d', pair.master, '--timeout', '120')
  const before = await checkpointTxn(pair)
  const client = await ControlClient.connect(nodePlatform, layoutOf(pair.slave).ownerSocket)
  if (client === null) throw new Error('the slave does not answer')

  const durableAt: number[] = []
  const samples: number[] = []
  let written = -1
  const writing = (async () => {
    const random = randomNumbers(5)
    const start = performance.now()
    for (let i = 0; i < options.perSecond * options.seconds; i++) {
      const due = start + (i * 1000) / options.perSecond
      while (performance.now() < due) await new Promise(resolve => setTimeout(resolve, 1))
      const number = i
      const id = i % 10 === 0 ? 'LAG' : itemId(random(options.items))
      file.write(id, i % 10 === 0 ? String(number) : itemValue(i)).then(
        () => {
          if (number % 10 !== 0) return
          durableAt[number / 10] = performance.now()
          written = number / 10
        },
        (error: unknown) => {
          throw error
        },
      )
    }
    await file.write('LAG', 'end')
  })()

  let next = 0
  for (;;) {
    const value = await read(client, 'LAG')
    const now = performance.now()
    if (value === 'end') break
    const seen = value === null ? -1 : Number(value) / 10
    // What has been overwritten before we asked was readable by then as well.
    for (; next <= Math.min(seen, written); next++) samples.push(now - (durableAt[next] ?? now))
  }
  await writing
  client.close()
  const checkpoints = (await checkpointTxn(pair)) === before ? 0 : 1
  await master.close()
  return {
    p50: percentile(samples, 0.5),
    p99: percentile(samples, 0.99),
    samples: samples.length,
    checkpoints,
  }
}

async function loadUntilCheckpointIsNear(
  file: File,
  pair: Pair,
  options: LagOptions,
): Promise<void> {
  const random = randomNumbers(6)
  const aim = checkpointLogBytes - 3 * options.perSecond * 145
  let last = Promise.resolve()
  for (let bytes = 0, i = 0; bytes < aim; i++) {
    last = file.write(itemId(i < options.items ? i : random(options.items)), itemValue(i))
    if (i % 5000 !== 0) continue
    await last
    const status = JSON.parse(await hb('status', '-d', pair.master, '--json')) as {
      log: { bytes: number }
    }
    bytes = status.log.bytes
  }
  await last
}

async function checkpointTxn(pair: Pair): Promise<number> {
  const status = JSON.parse(await hb('status', '-d', pair.slave, '--json')) as {
    apply: { checkpointTxn: number }
  }
  return status.apply.checkpointTxn
}

async function read(client: ControlClient, id: string): Promise<string | null> {
  const args = { account: 'BENCH', file: 'CUSTOMERS' }
  try {
    const { body } = await ask(client, readOperations.readItem, { ...args, body: Buffer.from(id) })
    return body.toString()
  } catch {
    return null
  }
}
