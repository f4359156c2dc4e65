// Long work by helpers, with real processes: a large file is resized, cleared and deleted while updates go on, and
// helpers, application, slave and the slave's slave are killed at any instant. What comes out is what no kill would
// have given, and nothing is left.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { isDataFileName } from '../../src/database/data-file-name.ts'
import { Master, type File } from '../../src/index.ts'
import { long } from '../helpers/long-form.ts'
import type { Order } from '../helpers/long-work-process.ts'
import {
  freePort,
  hb,
  ok,
  Pair,
  running,
  startHelper,
  statusOf,
  temporaryDirectory,
} from '../helpers/servers.ts'

const rounds = long ? 200 : 3
const seed = Number(process.env['HB_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Reproducible choices (mulberry32). */
function choices(start: number): (below: number) => number {
  let state = start
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

async function makePair(t: Test): Promise<Pair> {
  const pair = await Pair.make(t)
  for (const directory of [pair.master, pair.slave]) await smallFilesAreLarge(directory, '30s')
  return pair
}

async function smallFilesAreLarge(directory: string, patience: string): Promise<void> {
  const toml = path.join(directory, 'hb.toml')
  const text = await readFile(toml, 'utf8')
  const helpers = `[helpers]\nsize = "64KiB"\npatience = "${patience}"\n`
  await writeFile(toml, text.replace('[helpers]\n', helpers))
}

async function fill(file: File, items: number): Promise<void> {
  for (let id = 0; id < items; id++) void file.write(`item ${id}`, `value ${id} `.repeat(8))
  await file.write('last', 'one')
}

/** Waits until there is no long work any more on either side. */
async function settled(...directories: string[]): Promise<void> {
  for (const directory of directories) {
    for (;;) {
      const { helpers, holds } = await statusOf(directory)
      if (helpers.length === 0 && holds.length === 0) break
      // Helpers let others go first, and these looks, too.
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
}

t.test('a large file is resized, cleared and deleted while updates go on', async t => {
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const account = await master.createAccount('A')
  const large = await account.createFile('LARGE', { modulo: 101 })
  const small = await account.createFile('SMALL')
  await fill(large, 20_000)
  await large.resize(997)
  t.equal(large.modulo, 997, 'the modulo is the ordered one at once')
  t.match(master.status().holds, [{ account: 'A', file: 'LARGE' }])
  for (let id = 0; id < 500; id++) {
    void large.write(`item ${id * 7}`, 'held')
    void large.delete(`item ${id * 7 + 1}`)
    void small.write(`${id}`, 'x')
  }
  t.equal(String(await large.read('item 7')), 'held')
  t.equal(await large.read('item 1'), null)
  t.equal(String(await large.read('item 2')), 'value 2 '.repeat(8))
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours, 'while helpers may work')
  await settled(pair.master, pair.slave)
  t.same(await pair.digests(), { master: ours, slave: ours }, 'and after')
  await large.clear()
  await fill(large, 5000)
  await account.deleteFile('LARGE')
  await master.checkpoint()
  const after = await pair.digests()
  t.equal(after.slave, after.master)
  await settled(pair.master, pair.slave)
  for (const directory of [pair.master, pair.slave]) {
    t.same(readdirSync(path.join(directory, 'helpers')), [], 'nothing is left')
  }
})

t.test('while nothing is applied the database stands still', async t => {
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 101 })
  await fill(file, 20_000)
  await file.resize(499)
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('apply', '-d', pair.slave, 'off')
  const files = () => readdirSync(path.join(pair.slave, 'database'))
  const catalog = () => readFile(path.join(pair.slave, 'database', 'catalog'))
  const [filesBefore, catalogBefore] = [files(), await catalog()]
  await file.write('more', 'x')
  await ok('wait', '-d', pair.master, '--level', 'durable', '--timeout', '60')
  const added = files().filter(name => !filesBefore.includes(name))
  t.same(added, [], 'nothing is taken in; what nobody needs any more may go')
  t.ok((await catalog()).equals(catalogBefore))
  await ok('apply', '-d', pair.slave, 'on')
  await settled(pair.slave)
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
})

type HelperPid = number | null

/** Stops the helper that comes to work, as if it hung. Resolves with its pid; null when it was through before. */
async function hang(find: () => Promise<HelperPid>): Promise<HelperPid> {
  for (let looks = 0; looks < 500; looks++) {
    const pid = await find()
    if (pid === null) continue
    try {
      return process.kill(pid, 'SIGSTOP') ? pid : null
    } catch {
      return null
    }
  }
  return null
}

t.test('nobody but the readers of a file notices a helper that hangs', async t => {
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const account = await master.createAccount('A')
  const [large, small] = [await account.createFile('LARGE'), await account.createFile('SMALL')]
  await fill(large, 20_000)
  await ok('wait', '-d', pair.master, '--timeout', '60')
  let modulo = 997
  const builder = (helpers: readonly { operation: string; pid: HelperPid }[]) =>
    helpers.find(({ operation }) => operation === 'resize-file')?.pid ?? null
  const moment = () => new Promise(resolve => setTimeout(resolve, 1))
  let pids: readonly HelperPid[] = [null]
  while (pids.includes(null)) {
    await settled(pair.master, pair.slave)
    await large.resize((modulo += 2))
    pids = await Promise.all([
      hang(() => moment().then(() => builder(master.status().helpers))),
      hang(async () => builder((await statusOf(pair.slave)).helpers)),
    ])
    // When one was through too early, all of it is done again.
    if (pids.includes(null)) for (const pid of pids) if (pid !== null) process.kill(pid, 'SIGCONT')
  }

  await small.write('x', 'other files go on')
  await large.write('item 7', 'held')
  await large.delete('item 8')
  t.equal(String(await large.read('item 7')), 'held')
  t.equal(await large.read('item 8'), null)
  t.equal(String(await large.read('item 9')), 'value 9 '.repeat(8))
  await master.checkpoint()
  t.match(master.status().holds, [{ file: 'LARGE' }], 'a checkpoint waits for no helper')
  const { master: digest, slave } = await pair.digests()
  t.equal(slave, digest, 'nor does the slave, to apply')
  await ok('apply', '-d', pair.slave, 'off')
  t.match((await statusOf(pair.slave)).holds, [{ file: 'LARGE' }], 'nor to stand still')
  await ok('apply', '-d', pair.slave, 'on')

  await master.close()
  await ok('stop', '-d', pair.master)
  await ok('promote', '-d', pair.slave)
  const alive = readdirSync('/proc').filter(entry => pids.includes(Number(entry)))
  t.same(alive, [], 'a master that is closed ends its helper, and a slave that is promoted does')
  t.equal(await ok('digest', '-d', pair.slave), digest)
  const promoted = await Master.open(pair.slave)
  t.teardown(() => promoted.close())
  await settled(pair.slave)
  t.same(promoted.status().holds, [], 'the next owner has it done')
  t.equal(await ok('digest', '-d', pair.slave), digest)
  await promoted.close()
})

/** What is asked of the application in one round; doing it again leads to the same. */
function ordersOf(round: number, choose: (below: number) => number, model: Model): Order[] {
  const orders: Order[] = []
  const kind = choose(10)
  if (kind === 0) orders.push({ type: 'clear' })
  else if (kind === 1) orders.push({ type: 'create again' })
  if (kind < 2) model.clear()
  const write = (id: string, value: string) => {
    orders.push({ type: 'write', id, value })
    model.set(id, value)
  }
  // Large enough for a helper.
  if (model.size < 2000) {
    for (let id = 0; id < 8000; id++) write(`item ${id}`, `value ${id} `.repeat(8))
    if (kind < 2) orders.push({ type: 'checkpoint' })
  }
  for (let resizes = choose(3); resizes >= 0; resizes--) {
    orders.push({ type: 'resize', modulo: 101 + choose(900) })
    for (let i = 0; i < 150; i++) {
      write(`item ${choose(10_000)}`, `round ${round}, update ${i}`)
      const id = `item ${choose(10_000)}`
      orders.push({ type: 'delete', id })
      model.delete(id)
    }
  }
  return orders
}

type Model = Map<string, string>

/** A master that an application of its own has open, its slave, and the slave of that. */
class Chain {
  readonly names = ['a', 'b', 'c'] as const
  readonly #root: string
  #application: { readonly child: ChildProcess; readonly lines: AsyncIterator<string> } | null =
    null
  #gone: Promise<unknown> = Promise.resolve()
  kills = 0

  private constructor(root: string) {
    this.#root = root
  }

  static async make(t: Test): Promise<Chain> {
    const chain = new Chain(temporaryDirectory(t))
    t.teardown(async () => {
      chain.#application?.child.kill('SIGKILL')
      for (const name of chain.names) await hb('stop', '-d', chain.directory(name))
    })
    const address = { b: `127.0.0.1:${await freePort()}`, c: `127.0.0.1:${await freePort()}` }
    const to = (name: 'b' | 'c') => ['--slave', `${name}=${address[name]}`]
    const slave = (name: 'b' | 'c') => ['--type', 'slave', '--listen', address[name]]
    const setup = (name: string, ...args: readonly string[]) =>
      ok('setup', '-d', chain.directory(name), '--name', name, '--no-key', ...args)
    await setup('a', '--type', 'master', ...to('b'))
    await setup('b', ...slave('b'), ...to('c'))
    await setup('c', ...slave('c'))
    for (const name of chain.names) await smallFilesAreLarge(chain.directory(name), '5s')
    return chain
  }

  directory(name: string): string {
    return path.join(this.#root, name)
  }

  /** Whoever does not run is started. */
  async start(): Promise<void> {
    for (const name of this.names) await running(this.directory(name))
    const before = this.#application?.child
    if (before !== undefined && before.exitCode === null && before.signalCode === null) return
    const child = startHelper('long-work-process', this.directory('a'))
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
    this.#application = { child, lines }
    this.#gone = once(child, 'exit')
    child.stdin!.on('error', () => {})
    if ((await lines.next()).value !== 'open') throw new Error('the application did not open it')
  }

  /** Resolves when that is done; rejects when the application is killed. */
  async order(orders: readonly Order[]): Promise<void> {
    const { child, lines } = this.#application!
    child.stdin!.write(`${JSON.stringify(orders)}\n`)
    if ((await lines.next()).value !== 'done') throw new Error('the application has ended')
  }

  /** Kills, or stops, somebody who has to do with it; he may be done by then. */
  async harm(choose: (below: number) => number): Promise<void> {
    const name = this.names[choose(3)]!
    const { pid, helpers } = await statusOf(this.directory(name))
    const application = name === 'a' ? (this.#application?.child.pid ?? null) : null
    const helper = helpers.find(other => other.pid !== null)?.pid ?? null
    const victims = [[helper], [helper, application ?? pid], [application ?? pid], [pid]][
      choose(4)
    ]!
    for (const victim of victims) {
      if (victim === null) continue
      try {
        const hangs = victim === helper && victims.length === 1 && choose(4) === 0
        process.kill(victim, hangs ? 'SIGSTOP' : 'SIGKILL')
        this.kills++
      } catch {
        // It was done in time.
      }
      // Whoever starts it again must not find it dying.
      if (victim === pid) while ((await statusOf(this.directory(name))).pid === pid);
      if (victim === application) await this.#gone
    }
  }

  /** Waits until there is no long work any more, and everybody has everything. Returns what each of them holds. */
  async settled(): Promise<string[]> {
    await settled(...this.names.map(name => this.directory(name)))
    const { lastTxn } = (await statusOf(this.directory('a'))).log
    for (const name of ['b', 'c']) {
      const args = ['-d', this.directory(name), '--txn', String(lastTxn)]
      await ok('wait', ...args, '--timeout', '60')
    }
    await settled(...this.names.map(name => this.directory(name)))
    const digests: string[] = []
    for (const name of this.names) digests.push(await ok('digest', '-d', this.directory(name)))
    return digests
  }

  async items(name: string): Promise<Model> {
    const lines = (await ok('export', '-d', this.directory(name), 'A', 'F')).split('\n')
    return new Map(
      lines.filter(Boolean).map(line => {
        const { id, value } = JSON.parse(line) as { id: string; value: string }
        return [id, value]
      }),
    )
  }

  /** Helper processes, and what they build; data files that the last checkpoint does not name. */
  async left(): Promise<string[]> {
    const left: string[] = []
    await this.order([{ type: 'checkpoint' }])
    for (const name of this.names) {
      const directory = this.directory(name)
      if (name !== 'a') {
        // A checkpoint, on a slave.
        await ok('apply', '-d', directory, 'off')
        await ok('apply', '-d', directory, 'on')
      }
      await settled(directory)
      left.push(...readdirSync(path.join(directory, 'helpers')))
      const files = readdirSync(path.join(directory, 'database'))
      if (files.filter(isDataFileName).length > 1) left.push(`${name}: ${files.join()}`)
    }
    return [...left, ...helperProcesses(this.#root)]
  }
}

/** By the orders on their command lines. */
function helperProcesses(root: string): string[] {
  return readdirSync('/proc').filter(entry => {
    if (!/^\d+$/.test(entry)) return false
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, 'latin1')
      return command.includes('helper-process') && command.includes(root)
    } catch {
      return false
    }
  })
}

t.test(`helpers and servers are killed at any instant (HB_SEED=${seed})`, async t => {
  const choose = choices(seed)
  const chain = await Chain.make(t)
  await chain.start()
  const model: Model = new Map()
  for (let round = 0; round < rounds; round++) {
    const orders = ordersOf(round, choose, model)
    for (let tries = 0; ; tries++) {
      const done = chain.order(orders).then(
        () => true,
        () => false,
      )
      for (let harms = tries === 0 ? choose(4) : 0; harms > 0; harms--) {
        await new Promise(resolve => setTimeout(resolve, choose(200)))
        await chain.harm(choose)
      }
      await chain.start()
      if (await done) break
      await chain.start()
    }
    if (choose(3) === 0 && round < rounds - 1) continue
    const [a, ...others] = await chain.settled()
    for (const digest of others) if (digest !== a) t.fail(`round ${round}: the digests differ`)
    if (choose(5) > 0 && round < rounds - 1) continue
    if (!isDeepStrictEqual(await chain.items('c'), model)) t.fail(`round ${round}: other items`)
    const left = await chain.left()
    if (left.length > 0) t.fail(`round ${round}: ${left.join()} is left`)
    if (rounds > 10) t.comment(`round ${round}, ${chain.kills} kills`)
  }
  t.pass(`${chain.kills} kills in ${rounds} rounds`)
})
