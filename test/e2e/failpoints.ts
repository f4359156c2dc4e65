// kill -9 at named places (helpers/failpoints.ts), with real processes, real disks and real TCP, while an application
// writes. Each time: the place was hit; what ended is started again, or the command given again; everything that was
// acknowledged is there, transactions are whole, both sides are equal. At the end nothing is left behind. Every run
// takes a few others of the quick ones, by the seed; the long form (HB_LONG=1) takes the whole table, and
// HB_FAILPOINT=TEXT those whose name has it.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { decodeCatalog } from '../../src/database/catalog.ts'
import { dataFileName } from '../../src/database/data-file-name.ts'
import { Database } from '../../src/database/database.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { failpoints, type Failpoint, type Provocation } from '../helpers/failpoints.ts'
import type { Order } from '../helpers/fault-orders.ts'
import { preparedPair, type Faults } from '../helpers/faults.ts'
import {
  freePort,
  hb,
  hbProcess,
  killServer,
  ok,
  Pair,
  running,
  statusOf,
} from '../helpers/servers.ts'
import { long } from '../helpers/long-form.ts'
import { brokenItems, Traffic, writtenItems } from '../helpers/traffic.ts'

const seed = Number(process.env['HB_SEED'] ?? Date.now() % 1e9)
const wanted = process.env['HB_FAILPOINT']

/** In short: so many of those that need nothing but updates. */
const shortCount = 3
const failovers: readonly Provocation[] = ['promote', 'rejoin', 'switch']

function chosen(part: 'streaming' | 'failover'): readonly Failpoint[] {
  const all = failpoints.filter(
    ({ provoked }) => failovers.includes(provoked) === (part === 'failover'),
  )
  if (wanted !== undefined) return all.filter(point => nameOf(point).includes(wanted))
  if (long) return all
  // Evenly over the table, so that each part of it has its turn.
  const quick = all.filter(point => point.provoked === 'updates' && point.inRecovery === null)
  const width = Math.floor(quick.length / shortCount)
  return quick.filter((_, index) => index % width === seed % width).slice(0, shortCount)
}

function nameOf({ provoked, order, inRecovery }: Failpoint): string {
  return `${order.name}${inRecovery === null ? '' : `, then ${inRecovery.name}`} (${provoked})`
}

t.test('the table', async t => {
  t.comment(`HB_SEED=${seed}`)
  const names = failpoints.map(nameOf)
  t.ok(names.length >= 40, `${names.length} failpoints`)
  t.equal(new Set(names).size, names.length, 'each has a name of its own')
})

/**
 * Runs `work` again and again until the failpoint is hit; what it does may be broken off by that, or go on: the
 * function that is returned waits for its end.
 */
async function until(
  faults: Faults,
  order: Order,
  work: () => Promise<unknown>,
): Promise<() => Promise<unknown>> {
  let done = false
  const hit = faults.hit(order).finally(() => {
    done = true
  })
  let working: Promise<unknown> = Promise.resolve()
  while (!done) {
    working = work().catch(() => {})
    await Promise.race([hit, working])
  }
  await hit
  return () => working
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

class Streaming {
  readonly pair: Pair
  readonly faults: Faults
  traffic: Traffic
  #runs = 0
  readonly #acknowledged: string[] = []

  private constructor(pair: Pair, faults: Faults) {
    this.pair = pair
    this.faults = faults
    this.traffic = this.#begin()
  }

  static async start(pair: Pair, faults: Faults): Promise<Streaming> {
    await pair.start()
    return new Streaming(pair, faults)
  }

  #begin(): Traffic {
    return Traffic.start(this.pair.master, `R${this.#runs++}`, 30)
  }

  async suffer(t: Test, point: Failpoint): Promise<void> {
    const { order, inRecovery } = point
    await this.traffic.more(50)
    this.faults.order(order, ...(inRecovery === null ? [] : [inRecovery]))
    const ended = await until(this.faults, order, () => this.#provoke(point.provoked))
    // A master tries for long to give its copy.
    const seeds = point.provoked.startsWith('seed')
    if (!seeds) await ended()
    if (inRecovery !== null) {
      const restarted = await until(this.faults, inRecovery, () => this.#restart())
      await restarted()
    }
    this.faults.withdraw()
    await this.#restart()
    await ended()
    await ok('apply', '-d', this.pair.slave, 'on')
    if (seeds) await this.#seeded()
    await this.traffic.more(50)
    await this.#end()
    await this.#check(t, nameOf(point))
    this.traffic = this.#begin()
  }

  async #end(): Promise<void> {
    await this.traffic.kill()
    for (const id of this.traffic.ids) this.#acknowledged.push(id)
  }

  /** Whoever has ended begins anew. */
  async #restart(): Promise<void> {
    if (this.traffic.dead) {
      await this.#end()
      this.traffic = this.#begin()
    }
    await running(this.pair.slave)
    await running(this.pair.master)
    await pause(20)
  }

  async #provoke(provoked: Provocation): Promise<unknown> {
    const { master, slave } = this.pair
    switch (provoked) {
      case 'updates':
        return pause(50)
      case 'calls':
        await killServer(master)
        await running(master)
        return pause(1000)
      case 'master checkpoint':
        this.traffic.process.kill('SIGUSR2')
        return pause(100)
      case 'slave checkpoint':
        await hb('apply', '-d', slave, 'off')
        return hb('apply', '-d', slave, 'on')
      case 'resize': {
        // Only what lies on the disk is large enough for a helper.
        this.traffic.process.kill('SIGUSR2')
        await hb('apply', '-d', slave, 'off')
        await hb('apply', '-d', slave, 'on')
        const modulo = String(3000 + Math.floor(Math.random() * 2000))
        await hb('resize-file', '-d', master, 'KILL', 'ITEMS', '--modulo', modulo)
        await hb('wait', '-d', master, '--timeout', '20')
        // Another one would begin it anew.
        return Promise.all([master, slave].map(helpersDone))
      }
      case 'seed':
        return hb('seed', '-d', master, '--slave', 'beta')
      case 'seed from nothing':
        await hb('stop', '-d', slave)
        for (const name of ['log', 'database']) {
          rmSync(path.join(slave, name), { recursive: true, force: true })
        }
        await running(slave)
        return hb('seed', '-d', master, '--slave', 'beta')
      case 'lost-found':
        return this.#misfit()
      default:
        throw new TypeError(`${provoked} is no part of streaming`)
    }
  }

  /** A file is gone from the slave's database, and an update for it comes. */
  async #misfit(): Promise<void> {
    const { master, slave } = this.pair
    const at = ['-d', master, 'KILL', 'GONE'] as const
    await hb('create-file', ...at)
    await hb('wait', '-d', master, '--timeout', '20')
    await hb('apply', '-d', slave, 'off')
    await hb('stop', '-d', slave)
    await loseFile(slave, 'KILL', 'GONE')
    await hb('apply', '-d', slave, 'on')
    await running(slave)
    await hb('write', ...at, 'x', 'y')
    await pause(500)
  }

  /** The order is given again; the slave may not listen yet. */
  async #seeded(): Promise<void> {
    for (let tries = 1; ; tries++) {
      const { code, stderr } = await hb('seed', '-d', this.pair.master, '--slave', 'beta')
      if (code === 0) return
      if (tries > 100) throw new Error(stderr)
    }
  }

  /** What there is to see when something is wrong. */
  async describe(): Promise<string> {
    const { master, slave } = this.pair
    const texts = await Promise.all([master, slave].map(directory => hb('status', '-d', directory)))
    return texts.map(({ stdout, stderr }) => stdout + stderr).join('\n')
  }

  async #check(t: Test, name: string): Promise<void> {
    const { master, slave } = this.pair
    if ((await ok('list', '-d', master, 'KILL')).includes('GONE')) {
      await ok('wait', '-d', master, '--timeout', '60')
      await ok('delete-file', '-d', master, 'KILL', 'GONE')
      await ok('wait', '-d', master, '--timeout', '60')
      for (const { id } of JSON.parse(await ok('lost', 'list', '-d', slave, '--json')) as {
        id: string
      }[]) {
        await ok('lost', 'discard', '-d', slave, id)
      }
    }
    const digests = await this.pair.digests()
    t.equal(digests.slave, digests.master, name)
    const found = await writtenItems(master)
    const missing = this.#acknowledged.filter(id => !found.has(id))
    if (missing.length > 0)
      t.fail(`${missing.length} were acknowledged and are gone: ${missing[0]}`)
    const broken = brokenItems(found)
    if (broken.length > 0) t.fail(`${broken.length} are broken: ${broken[0]}`)
    for (const directory of [master, slave]) {
      const verified = await hb('log', 'verify', '-d', directory)
      if (verified.code !== 0) t.fail(`${directory}: ${verified.stderr}`)
    }
  }

  /** A checkpoint on both sides and a clean end; then there is nothing that is no part of a server at rest. */
  async finish(t: Test): Promise<void> {
    const { master, slave } = this.pair
    await this.traffic.more(50)
    this.traffic.process.kill('SIGUSR2')
    await this.traffic.more(200)
    await this.#end()
    await ok('wait', '-d', master, '--timeout', '60')
    for (const directory of [master, slave]) await helpersDone(directory)
    await ok('apply', '-d', slave, 'off')
    await ok('apply', '-d', slave, 'on')
    await ok('stop', '-d', master)
    await ok('stop', '-d', slave)
    t.strictSame(leftovers(this.pair), [], 'nothing is left')
  }
}

/** Nobody works, or nobody is there. */
async function helpersDone(directory: string): Promise<void> {
  for (;;) {
    const { helpers, holds } = await statusOf(directory)
    if (helpers.length === 0 && holds.length === 0) return
    await pause(20)
  }
}

async function loseFile(directory: string, account: string, name: string): Promise<void> {
  const database = await Database.open(nodePlatform, directory, { cacheBytes: 1, replica: true })
  try {
    const file = database.file(account, name)
    if (file === undefined) return
    const records = new RecordEncoder(100, 0)
    records.deleteFile(file.number)
    records.endTransaction()
    const { stamp } = database
    database.apply(records.bytes, 0, records.end, stamp.txn)
    await database.checkpoint(stamp, Promise.resolve())
  } finally {
    await database.close()
  }
}

/** Files and processes that should be gone. */
function leftovers({ root, master, slave }: Pair): string[] {
  const left: string[] = []
  for (const directory of [master, slave]) {
    const names = readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => path.relative(directory, path.join(entry.parentPath, entry.name)))
    const odd = names.filter(
      name =>
        (name.endsWith('.tmp') && name !== 'log/next.tmp') ||
        /^(helpers\/|seed\/|rejoin|fenced|promotion)/.test(name),
    )
    left.push(...odd.map(name => `${path.basename(directory)}/${name}`))
    const catalog = readFileSync(path.join(directory, 'database/catalog'))
    const known = decodeCatalog(catalog, 'catalog').files.map(file =>
      dataFileName(file.fileNumber, file.number),
    )
    const files = readdirSync(path.join(directory, 'database'))
    const kept = ['catalog', 'journal', ...known]
    left.push(...files.filter(name => !kept.includes(name)))
  }
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    const file = `/proc/${pid}/cmdline`
    const command = existsSync(file) ? readFileSync(file, 'utf8') : ''
    if (command.includes(root)) left.push(command.replaceAll('\0', ' '))
  }
  return left
}

/** A database that has seen so many takes long to be looked through. */
const pointsPerPair = 25
const streams = chosen('streaming')

for (let first = 0; first < streams.length; first += pointsPerPair) {
  t.test(`while updates stream, from ${first + 1}`, { timeout: 3_600_000 }, async t => {
    const { pair, faults } = await preparedPair(t)
    const streaming = await Streaming.start(pair, faults)
    t.teardown(() => streaming.traffic.kill())
    for (const point of streams.slice(first, first + pointsPerPair)) {
      const began = Date.now()
      await streaming.suffer(t, point).catch(async (error: unknown) => {
        t.comment(await streaming.describe())
        throw new Error(nameOf(point), { cause: error })
      })
      t.comment(`${Date.now() - began} ms`)
    }
    await streaming.finish(t)
  })
}

/** Two servers that change their roles with each failover. */
class Failovers {
  readonly #pair: Pair
  readonly #faults: Faults
  #master: { readonly directory: string; readonly port: number }
  #slave: { readonly directory: string; readonly port: number }
  #runs = 0

  private constructor(pair: Pair, faults: Faults, port: number) {
    this.#pair = pair
    this.#faults = faults
    this.#master = { directory: pair.master, port }
    this.#slave = { directory: pair.slave, port: pair.port }
  }

  static async start(pair: Pair, faults: Faults): Promise<Failovers> {
    await pair.start()
    return new Failovers(pair, faults, await freePort())
  }

  async suffer(t: Test, { provoked, order }: Failpoint): Promise<void> {
    const traffic = Traffic.start(this.#master.directory, `R${this.#runs++}`, 30)
    await traffic.more(200)
    await ok('wait', '-d', this.#master.directory, '--timeout', '60')
    this.#faults.order(order)
    const swap = provoked === 'switch' ? this.#switch() : this.#failOver(traffic)
    const hit = this.#faults.hit(order).then(async () => {
      // The orders stand no more: whoever comes after completes it.
      this.#faults.withdraw()
      // A command that has told the slave to become the master waits for long until it is.
      if (order.role === 'slave' && provoked === 'switch') await this.#raise()
    })
    await Promise.all([hit, swap])
    await traffic.kill()
    ;[this.#master, this.#slave] = [this.#slave, this.#master]
    await running(this.#master.directory)
    await running(this.#slave.directory)
    await this.#check(t, order.name, traffic.ids)
  }

  async #failOver(traffic: Traffic): Promise<void> {
    const { directory } = this.#master
    await killServer(directory)
    await traffic.kill()
    await this.#insist(
      () => isMaster(this.#slave.directory),
      async () => {
        await running(this.#slave.directory).catch(() => {}) // A promotion that has begun keeps it from starting.
        return hbProcess('promote', '-d', this.#slave.directory)
      },
    )
    const at = (port: number) => `127.0.0.1:${port}`
    const from = ['--from', at(this.#slave.port), '--listen', at(this.#master.port)]
    await this.#insist(
      async () => !(await isMaster(directory)) && !existsSync(path.join(directory, 'rejoin')),
      async () => {
        await running(this.#slave.directory)
        return hbProcess('rejoin', '-d', directory, ...from)
      },
    )
  }

  async #switch(): Promise<void> {
    const { directory, port } = this.#master
    const name = directory === this.#pair.master ? 'beta' : 'alpha'
    await this.#insist(
      async () => !(await isMaster(directory)) && !existsSync(path.join(directory, 'rejoin')),
      async () => {
        await this.#raise()
        if (await isMaster(directory)) await running(directory).catch(() => {})
        const listen = ['--listen', `127.0.0.1:${port}`]
        return hbProcess('switch', '-d', directory, '--to', name, ...listen)
      },
    )
  }

  /** The slave runs, or is a master when its promotion has begun. */
  async #raise(): Promise<void> {
    const { directory } = this.#slave
    await running(directory).catch(() => {})
    if (await isMaster(directory)) return
    if (existsSync(path.join(directory, 'promotion'))) await hbProcess('promote', '-d', directory)
  }

  /** Gives a command again until what it is for has come about. */
  async #insist(
    done: () => Promise<boolean>,
    command: () => Promise<{ code: number; stderr: string }>,
  ): Promise<void> {
    for (let tries = 1; ; tries++) {
      const { code, stderr } = await command()
      if (await done()) return
      if (tries > 60) throw new Error(`${code}: ${stderr}`)
    }
  }

  async #check(t: Test, name: string, acknowledged: readonly string[]): Promise<void> {
    const [ours, theirs] = [this.#master.directory, this.#slave.directory]
    await ok('wait', '-d', ours, '--timeout', '60')
    t.equal(await ok('digest', '-d', theirs), await ok('digest', '-d', ours), name)
    const items = await writtenItems(ours)
    const broken = brokenItems(items)
    if (broken.length > 0) t.fail(`${broken.length} are broken: ${broken[0]}`)
    const kept = new Set(items.keys())
    const saved = path.join(theirs, 'missing-updates')
    for (const file of existsSync(saved) ? readdirSync(saved) : []) {
      if (!file.endsWith('.jsonl')) continue
      for (const line of readFileSync(path.join(saved, file), 'utf8').trim().split('\n')) {
        kept.add((JSON.parse(line) as { id: string }).id)
      }
    }
    const missing = acknowledged.filter(id => !kept.has(id))
    if (missing.length > 0) t.fail(`${missing.length} are nowhere: ${missing[0]}`)
  }

  async finish(t: Test): Promise<void> {
    await ok('stop', '-d', this.#master.directory)
    await ok('stop', '-d', this.#slave.directory)
    const kept = `${path.basename(this.#master.directory)}/promotion`
    t.strictSame(
      leftovers(this.#pair).filter(name => name !== kept),
      [],
      'nothing is left',
    )
  }
}

async function isMaster(directory: string): Promise<boolean> {
  return (await statusOf(directory)).type === 'master'
}

t.test('when the master dies, and on the way back', { timeout: 3_600_000 }, async t => {
  const points = chosen('failover')
  if (points.length === 0) {
    t.pass('in the long form only')
    return
  }
  const { pair, faults } = await preparedPair(t)
  const failovers = await Failovers.start(pair, faults)
  for (const point of points) {
    const began = Date.now()
    await failovers.suffer(t, point).catch((error: unknown) => {
      throw new Error(nameOf(point), { cause: error })
    })
    t.comment(`${Date.now() - began} ms`)
  }
  await failovers.finish(t)
})
