// The lock: one owner. A dead one is replaced at once, a live one never, whatever happens to the lock's files.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import * as v from 'valibot'
import { type HotBackupError } from '../../src/errors.ts'
import { acquireLock, readLockHolder } from '../../src/platform/node-locks.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodeProcesses } from '../../src/platform/node-processes.ts'

const directory = mkdtempSync(join(tmpdir(), 'hb-lock-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const holderModule = fileURLToPath(new URL('../helpers/lock-holder.js', import.meta.url))
const self = nodeProcesses.self()
// Those that wait for heartbeats wait at the same time.
t.jobs = 8
const waiting = { buffered: true }
let count = 0
const newPath = () => join(directory, String(++count), 'run', 'owner')

function acquire(path: string, onLost: (error: HotBackupError) => void = () => {}) {
  return acquireLock(path, self, nodeProcesses, 'test', onLost)
}

/** Starts a process that tries to take the lock; `answer` is what it said first. */
function startHolder(path: string) {
  const child = spawn(process.execPath, [holderModule, path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })
  const answer = once(lines, 'line').then(([line]) => String(line))
  const exited = once(child, 'exit')
  return { child, answer, exited }
}

/** A lock as a process that is gone or elsewhere left it; its heartbeat is `ageSeconds` old. */
async function leave(path: string, holder: object | string, ageSeconds: number): Promise<void> {
  await nodeDisk.makeDirectory(`${path}.lock`)
  const text = typeof holder === 'string' ? holder : JSON.stringify(holder)
  writeFileSync(`${path}.json`, text)
  const time = Date.now() / 1000 - ageSeconds
  utimesSync(`${path}.lock`, time, time)
}

/** Neither a heartbeat nor a detached child keeps a process from ending: something else must. */
async function awake<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1000)
  try {
    return await promise
  } finally {
    clearInterval(timer)
  }
}

t.test('held and released', async t => {
  const path = newPath()
  t.equal(await readLockHolder(path, nodeProcesses), null)
  const lock = await acquire(path)
  t.strictSame(await readLockHolder(path, nodeProcesses), {
    identity: self,
    purpose: 'test',
    alive: true,
    elsewhere: false,
  })
  await t.rejects(acquire(path), {
    code: 'ERR_RUNNING',
    message: new RegExp(`${path} is locked by process ${process.pid} on .*\\(test\\)`),
    place: { path },
  })
  await lock.release()
  await lock.release()
  t.equal(await readLockHolder(path, nodeProcesses), null)
  await (await acquire(path)).release()
  t.strictSame(await nodeDisk.list(join(path, '..')), [], 'nothing is left behind')
})

t.test('a process that was killed is replaced at once', async t => {
  const path = newPath()
  const { child, answer, exited } = startHolder(path)
  t.equal(await answer, 'held')
  await t.rejects(acquire(path), { code: 'ERR_RUNNING', message: `process ${child.pid}` })
  child.kill('SIGKILL')
  await exited
  t.match(await readLockHolder(path, nodeProcesses), {
    identity: { pid: child.pid, host: self.host },
    purpose: 'test-holder',
    alive: false,
  })
  // Not by its age: fresh for ever, and yet free.
  const future = Date.now() / 1000 + 3600
  utimesSync(`${path}.lock`, future, future)
  const lock = await acquire(path)
  t.match(await readLockHolder(path, nodeProcesses), { identity: self, alive: true })
  await lock.release()
})

t.test('of several takers one wins', async t => {
  const path = newPath()
  await leave(path, { ...self, pid: 2 ** 22 + 1, purpose: 'dead', token: '', directory: '' }, 0)
  const takers = [1, 2, 3, 4].map(() => startHolder(path))
  const answers = await Promise.all(takers.map(taker => taker.answer))
  t.strictSame(answers.sort(), ['ERR_RUNNING', 'ERR_RUNNING', 'ERR_RUNNING', 'held'])
  for (const { child } of takers) child.stdin.end()
  await Promise.all(takers.map(taker => taker.exited))
  t.equal(await readLockHolder(path, nodeProcesses), null)

  const racers = await Promise.allSettled([1, 2, 3, 4].map(() => acquire(path)))
  const winners = racers.flatMap(racer => (racer.status === 'fulfilled' ? [racer.value] : []))
  t.equal(winners.length, 1, 'in one process, too')
  await winners[0]?.release()
})

t.test('what is known of the holder decides', waiting, async t => {
  const dead = { ...self, pid: 2 ** 22 + 1, purpose: 'p', token: '', directory: '' }
  const live = { ...dead, pid: self.pid }
  const container = { ...dead, pid: 1, pidNamespace: 'pid:[1]' }
  const elsewhere = { ...live, bootId: 'another boot', machineId: 'another machine' }
  const earlier = { ...live, bootId: 'another boot' }
  type Here = 'here' | 'copied'
  const cases: readonly [string, object | string, Here, number, 'taken' | 'refused'][] = [
    ['a dead process', dead, 'here', 0, 'taken'],
    ['a dead process, its heartbeat in the future', dead, 'here', -3600, 'taken'],
    ['a later process with the same pid', { ...live, startTicks: 1 }, 'here', 0, 'taken'],
    ['a living process that stalls', live, 'here', 60, 'refused'],
    ['a living process that locked what this is a copy of', live, 'copied', 0, 'taken'],
    ['a process before the machine started again', earlier, 'here', 60, 'taken'],
    ['the same, its heartbeat in the future', earlier, 'here', -3600, 'taken'],
    ['a process of another container', container, 'here', 60, 'taken'],
    ['the same, its heartbeat in the future', container, 'here', -3600, 'taken'],
    ['a process on another machine', elsewhere, 'here', 0, 'taken'],
    ['the same, its heartbeat in the future', elsewhere, 'here', -3600, 'taken'],
    ['nothing', '', 'here', -3600, 'taken'],
    ['nothing that can be read', '{"pid":1}', 'here', 60, 'taken'],
  ]
  // All at once: some heartbeats are watched for ten seconds.
  const judge = async ([name, holder, here, ageSeconds, outcome]: (typeof cases)[number]) => {
    const path = newPath()
    await leave(path, holder, ageSeconds)
    if (typeof holder !== 'string' && here === 'here') {
      const { dev, ino } = lstatSync(dirname(path), { bigint: true })
      await leave(path, { ...holder, directory: `${dev}:${ino}` }, ageSeconds)
    }
    if (outcome === 'refused') {
      await t.rejects(acquire(path), { code: 'ERR_RUNNING' }, name)
      return
    }
    const lock = await acquire(path)
    t.match(await readLockHolder(path, nodeProcesses), { identity: self, purpose: 'test' }, name)
    await lock.release()
  }
  await awake(Promise.all(cases.map(judge)))
})

t.test(
  'a holder that cannot be seen from here keeps its lock while its heart beats',
  waiting,
  async t => {
    const path = newPath()
    const elsewhere = {
      ...self,
      bootId: 'b',
      machineId: 'm',
      purpose: 'p',
      token: '',
      directory: '',
    }
    await leave(path, elsewhere, 60)
    t.match(await readLockHolder(path, nodeProcesses), { alive: false, elsewhere: true })
    await leave(path, elsewhere, 0)
    t.match(await readLockHolder(path, nodeProcesses), { alive: true, elsewhere: true })
    // Its clock differs from ours by an hour, either way.
    let beats = 0
    const heart = setInterval(() => {
      const time = Date.now() / 1000 + (++beats % 2 === 0 ? 3600 : -3600)
      utimesSync(`${path}.lock`, time, time)
    }, 500)
    t.teardown(() => clearInterval(heart))
    await t.rejects(acquire(path), { code: 'ERR_RUNNING', message: /\(p\)/ })
  },
)

t.test(
  'the proof of life of a living process counts, whatever its pid means here',
  waiting,
  async t => {
    const path = newPath()
    const { child, answer, exited } = startHolder(path)
    t.equal(await answer, 'held')
    const file = v.parse(v.looseObject({}), JSON.parse(readFileSync(`${path}.json`, 'utf8')))
    for (const change of [
      { pid: 2 ** 22 + 1 },
      { pidNamespace: 'pid:[1]', pid: 1 },
      { host: 'x' },
    ]) {
      writeFileSync(`${path}.json`, JSON.stringify({ ...file, ...change }))
      await t.rejects(acquire(path), { code: 'ERR_RUNNING' }, JSON.stringify(change))
    }
    writeFileSync(`${path}.json`, JSON.stringify({ ...file, pidNamespace: 'pid:[1]', pid: 1 }))
    child.kill('SIGSTOP')
    await t.rejects(acquire(path), { code: 'ERR_RUNNING' }, 'one that stands still')
    child.kill('SIGKILL')
    await exited
    t.match(await readLockHolder(path, nodeProcesses), { alive: false, elsewhere: true })
    await (await acquire(path)).release()
  },
)

t.test('a copy of a locked directory is free, and its original is not', async t => {
  const path = newPath()
  const { child, answer, exited } = startHolder(path)
  t.equal(await answer, 'held')
  for (const options of [['-a'], ['-r', '--copy-contents', '--no-preserve=all']] as const) {
    const copy = newPath()
    mkdirSync(dirname(dirname(copy)))
    // A socket that is copied by its contents would block.
    if (options[0] === '-r') rmSync(`${path}.alive.sock`)
    execFileSync('cp', [...options, dirname(path), dirname(copy)])
    t.match(await readLockHolder(copy, nodeProcesses), { alive: false }, options.join(' '))
    const lock = await acquire(copy)
    t.match(await readLockHolder(path, nodeProcesses), {
      identity: { pid: child.pid },
      alive: true,
    })
    await lock.release()
  }
  child.kill('SIGKILL')
  await exited
})

t.test(
  'a holder keeps its lock when the files of it are changed, and shows it',
  waiting,
  async t => {
    const changes: readonly [string, (path: string) => void][] = [
      ['touched', path => utimesSync(`${path}.lock`, 1, 1)],
      ['touched, in the future', path => utimesSync(`${path}.lock`, 4e9, 4e9)],
      [
        'a foreign entry',
        path => mkdirSync(join(`${path}.lock`, '@eaDir', 'x'), { recursive: true }),
      ],
      ['the directory is gone', path => rmdirSync(`${path}.lock`)],
      ['the name is gone', path => (rmSync(`${path}.json`), utimesSync(`${path}.lock`, 1, 1))],
      ['everything is gone', path => rmSync(dirname(path), { recursive: true })],
    ]
    const judge = async ([name, change]: (typeof changes)[number]) => {
      const path = newPath()
      const errors: HotBackupError[] = []
      const lock = await acquire(path, error => errors.push(error))
      change(path)
      const fresh = () => {
        const age =
          Date.now() - (lstatSync(`${path}.lock`, { throwIfNoEntry: false })?.mtimeMs ?? 0)
        return Math.abs(age) < 10_000 && existsSync(`${path}.json`)
      }
      while (!fresh() || existsSync(join(`${path}.lock`, '@eaDir'))) await delay(100)
      await t.rejects(acquire(path), { code: 'ERR_RUNNING' }, name)
      t.strictSame(errors, [], name)
      await lock.release()
      t.strictSame(await nodeDisk.list(dirname(path)), [], `${name}: nothing is left behind`)
    }
    await awake(Promise.all(changes.map(judge)))
  },
)

t.test('a gate that a process has died in opens, whatever the clock says', waiting, async () => {
  const path = newPath()
  await nodeDisk.makeDirectory(`${path}.gate.lock`)
  writeFileSync(join(`${path}.gate.lock`, 'foreign'), '')
  const future = Date.now() / 1000 + 3600
  utimesSync(`${path}.gate.lock`, future, future)
  await (await awake(acquire(path))).release()
})

t.test(
  'a holder that loses the lock learns of it, and leaves the next owner alone',
  waiting,
  async t => {
    const path = newPath()
    let hear: (error: HotBackupError) => void = () => {}
    const lost = new Promise<HotBackupError>(resolve => (hear = resolve))
    const lock = await acquire(path, error => hear(error))
    rmdirSync(`${path}.lock`)
    await leave(path, { ...self, purpose: 'next', token: 'next', directory: '' }, 0)
    t.match(await awake(lost), { code: 'ERR_LOCK_LOST', place: { path } })
    await lock.release()
    t.equal((await readLockHolder(path, nodeProcesses))?.purpose, 'next')
  },
)

t.test('a release before the loss is noticed leaves the next owner alone, too', async t => {
  const path = newPath()
  const lock = await acquire(path)
  await leave(path, { ...self, purpose: 'next', token: 'next', directory: '' }, 0)
  await lock.release()
  t.equal((await readLockHolder(path, nodeProcesses))?.purpose, 'next')
})

t.test('processes', async t => {
  t.equal(nodeProcesses.mayBeAlive(self), true)
  t.equal(nodeProcesses.mayBeAlive({ ...self, startTicks: 0 }), true)
  t.equal(nodeProcesses.mayBeAlive({ ...self, pid: 2 ** 22 + 1, host: 'new name' }), false)
  t.equal(nodeProcesses.mayBeAlive({ ...self, pid: 2 ** 22 + 1, bootId: 'elsewhere' }), true)

  const path = newPath()
  await nodeDisk.makeDirectory(path)
  const output = join(path, 'out')
  const detached = nodeProcesses.start(holderModule, [join(path, 'owner')], {
    detached: { outputPath: output },
    environment: { HB_TEST: '1' },
  })
  // Its standard input is at its end, so it ends by itself.
  t.strictSame(await awake(detached.exited), { code: 0, signal: null })
  t.equal(nodeProcesses.signal(detached.pid ?? 0, 'SIGTERM'), false)
  const bytes = Buffer.alloc(100)
  const file = await nodeDisk.open(output, 'read')
  t.equal(bytes.toString('latin1', 0, file.readSync(bytes, 0, 100, 0)), 'held\n')
  await file.close()

  const child = nodeProcesses.start(holderModule, ['/dev/null/impossible'], {})
  t.equal(nodeProcesses.mayBeAlive({ ...self, pid: child.pid ?? 0, startTicks: 0 }), true)
  child.kill('SIGKILL')
  t.strictSame(await child.exited, { code: null, signal: 'SIGKILL' })
  t.equal(nodeProcesses.mayBeAlive({ ...self, pid: child.pid ?? 0, startTicks: 0 }), false)
})

t.test('children that somebody small starts on behalf of this process', async t => {
  const end = nodeProcesses.prepare()
  const path = `${newPath()} it's $HOME`
  await nodeDisk.makeDirectory(dirname(path))
  const begin = async () => {
    const said: string[] = []
    let heard: () => void = () => {}
    const speaks = new Promise<void>(resolve => {
      heard = resolve
    })
    const child = nodeProcesses.start(holderModule, [path], {
      output: line => {
        said.push(line)
        heard()
      },
    })
    await awake(speaks)
    return { child, said }
  }
  const first = await begin()
  t.same(first.said, ['held'], 'an argument is an argument, whatever is in it')
  const holder = await readLockHolder(path, nodeProcesses)
  t.equal(holder?.identity.pid, first.child.pid, 'it is known by its own pid')
  const second = await begin()
  t.same(second.said, ['ERR_RUNNING'])
  first.child.kill('SIGKILL')
  t.strictSame(await awake(first.child.exited), { code: null, signal: 'SIGKILL' })
  const early = nodeProcesses.start(holderModule, [path], { output: () => {} })
  early.kill('SIGKILL')
  t.strictSame(await awake(early.exited), { code: null, signal: 'SIGKILL' }, 'before it has a pid')

  // Whoever has started them is killed: they end with it, and the next one gets another.
  const orphan = await begin()
  t.same(orphan.said, ['held'])
  const parent = (pid: number) =>
    Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
  if (process.platform === 'linux') {
    const shell = parent(parent(orphan.child.pid ?? 0))
    t.equal(parent(shell), process.pid)
    process.kill(shell, 'SIGKILL')
    t.strictSame(await awake(orphan.child.exited), { code: null, signal: 'SIGKILL' })
    const next = await begin()
    t.same(next.said, ['held'])
    end()
    t.equal((await awake(next.child.exited)).signal, 'SIGKILL', 'nothing is left at the end')
  } else end()
})
