// The lock: one owner; a dead one is replaced at once, a live one never; who loses it hears of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type HotBackupError } from '../../src/errors.ts'
import { acquireLock, readLockHolder } from '../../src/platform/node-locks.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodeProcesses } from '../../src/platform/node-processes.ts'

const directory = mkdtempSync(join(tmpdir(), 'hb-lock-'))
t.teardown(() => rmSync(directory, { recursive: true }))
const holderModule = fileURLToPath(new URL('../helpers/lock-holder.js', import.meta.url))
const self = nodeProcesses.self()
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
  await leave(path, { ...self, pid: 2 ** 22 + 1, purpose: 'dead', token: '' }, 0)
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

t.test('what is known of the holder decides', async t => {
  const dead = { ...self, pid: 2 ** 22 + 1, purpose: 'p', token: '' }
  const elsewhere = { ...dead, host: 'another host' }
  const cases: readonly [string, object | string, number, 'taken' | 'refused'][] = [
    ['a dead process', dead, 0, 'taken'],
    ['a later process with the same pid', { ...dead, ...self, startTicks: 1 }, 0, 'taken'],
    ['a process before the machine started', { ...dead, ...self, bootId: 'x' }, 0, 'taken'],
    ['a living process that stalls', { ...dead, ...self }, 60, 'refused'],
    ['a process on another host', elsewhere, 0, 'refused'],
    ['a process on another host, silent', elsewhere, 60, 'taken'],
    ['nobody knows whom', '', 0, 'refused'],
    ['nobody knows whom, silent', '{"pid":1}', 60, 'taken'],
  ]
  for (const [name, holder, ageSeconds, outcome] of cases) {
    const path = newPath()
    await leave(path, holder, ageSeconds)
    if (outcome === 'refused') {
      await t.rejects(acquire(path), { code: 'ERR_RUNNING' }, name)
    } else {
      const lock = await acquire(path)
      t.match(await readLockHolder(path, nodeProcesses), { identity: self, purpose: 'test' }, name)
      await lock.release()
    }
  }
  const path = newPath()
  await leave(path, elsewhere, 60)
  t.match(await readLockHolder(path, nodeProcesses), { purpose: 'p', alive: false })
  await leave(path, elsewhere, 0)
  t.match(await readLockHolder(path, nodeProcesses), { purpose: 'p', alive: true })
})

t.test('who loses the lock hears of it, and leaves the next owner alone', async t => {
  const path = newPath()
  let hear: (error: HotBackupError) => void = () => {}
  const lost = new Promise<HotBackupError>(resolve => (hear = resolve))
  const lock = await acquire(path, error => hear(error))
  rmdirSync(`${path}.lock`)
  await leave(path, { ...self, purpose: 'next', token: 'next' }, 0)
  t.match(await awake(lost), { code: 'ERR_LOCK_LOST', place: { path } })
  await lock.release()
  t.equal((await readLockHolder(path, nodeProcesses))?.purpose, 'next')
})

t.test('a release before the loss is noticed leaves the next owner alone, too', async t => {
  const path = newPath()
  const lock = await acquire(path)
  await leave(path, { ...self, purpose: 'next', token: 'next' }, 0)
  await lock.release()
  t.equal((await readLockHolder(path, nodeProcesses))?.purpose, 'next')
})

t.test('processes', async t => {
  t.equal(nodeProcesses.mayBeAlive(self), true)
  t.equal(nodeProcesses.mayBeAlive({ ...self, startTicks: 0 }), true)
  t.equal(nodeProcesses.mayBeAlive({ ...self, pid: 2 ** 22 + 1, host: 'another host' }), true)

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
