// Disks that are full, that fail, and that forget, with real processes: a quota of the disk port, by the fault
// injector, and in the long form (HB_LONG=1) a small file system of its own, and LazyFS (helpers/lazyfs.ts). When a
// disk is full nothing that was acknowledged is lost, everybody can be asked and read, says so, and goes on by himself
// when there is room. When a sync fails, it is over at once, said, and told by the exit code.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { Order } from '../helpers/fault-orders.ts'
import { preparedPair } from '../helpers/faults.ts'
import { LazyFileSystem } from '../helpers/lazyfs.ts'
import { long } from '../helpers/long-form.ts'
import { hb, killServer, ok, running, statusOf, until } from '../helpers/servers.ts'
import { checkPair, Traffic } from '../helpers/traffic.ts'

const segments = '/log/(\\d+\\.log|next\\.tmp)$'

function failing(
  role: string,
  what: string,
  act: 'ENOSPC' | 'EIO' = 'ENOSPC',
  operation = 'create|write',
): Order {
  return { name: `${role} ${act} ${what}`, role, operation, what, moment: 'before', nth: 1, act }
}

async function failureOf(directory: string): Promise<string | null> {
  const status = JSON.parse(await ok('status', '-d', directory, '--json')) as {
    failure: string | null
  }
  return status.failure
}

t.test('a full disk', { timeout: 600_000 }, async t => {
  const { pair, faults } = await preparedPair(t)
  const { master, slave } = pair
  await pair.start()
  const traffic = Traffic.start(master, 'FULL', 30)
  t.teardown(() => traffic.kill())
  await traffic.more(300)

  // The master's log: updates are refused.
  faults.order(failing('app', segments))
  await traffic.refused(0)
  t.strictSame(traffic.refusals, ['ERR_DISK_FULL'], 'the log of the master')
  t.match(await failureOf(master), /room|ENOSPC/)
  t.match(await ok('read', '-d', master, 'KILL', 'ITEMS', 'FULL*0*0'), /value of/, 'it is read')
  faults.withdraw()
  await traffic.more(100)
  await until('the master is well', async () => (await failureOf(master)) === null)

  // The slave's log: it lets the master go, which calls again.
  faults.order(failing('slave', segments))
  await until('the slave has no room', async () => (await failureOf(slave)) !== null)
  await traffic.more(100)
  t.match(await ok('read', '-d', slave, 'KILL', 'ITEMS', 'FULL*0*0'), /value of/)
  await until('the master hears of it', async () =>
    /ERR_DISK_FULL/.test(await ok('status', '-d', master, '--json')),
  )
  faults.withdraw()
  await until('the slave is well', async () => (await failureOf(slave)) === null)
  await ok('wait', '-d', master, '--timeout', '60')
  t.pass('the log of the slave')

  // Checkpoints, on both sides, at each of their steps: updates go on.
  const steps = ['/database/journal\\.new$', '/database/[0-9a-f]{8}\\.', '/database/catalog\\.tmp$']
  for (const step of steps) {
    const orders = [failing('app', step), failing('slave', step)]
    faults.order(...orders)
    traffic.process.kill('SIGUSR2')
    // While it waits nobody is kept waiting.
    const off = await hb('apply', '-d', slave, 'off')
    t.match(off, { code: 1, stderr: /ERR_DISK_FULL/ }, step)
    t.equal((await statusOf(slave)).apply.on, true, 'what has failed has changed nothing')
    for (const directory of [master, slave]) {
      await until('it says so', async () => (await failureOf(directory)) !== null)
    }
    for (const order of orders) await faults.hit(order)
    await traffic.more(50)
    await ok('wait', '-d', master, '--timeout', '60')
    faults.withdraw()
    for (const directory of [master, slave]) {
      await until('it is made', async () => (await failureOf(directory)) === null)
    }
  }

  // A helper's work is begun again.
  const build = failing('helper', '/helpers/')
  faults.order(build)
  await ok('resize-file', '-d', master, 'KILL', 'ITEMS', '--modulo', '997')
  await faults.hit(build)
  faults.withdraw()
  // A copy for the slave: the order fails, and is given again.
  for (const order of [failing('shipper', '/alpha/seed/'), failing('slave', '/beta/seed/')]) {
    faults.order(order)
    const seeded = await hb('seed', '-d', master, '--slave', 'beta')
    t.match(seeded, { code: 1, stderr: /ERR_DISK_FULL/ }, 'the copy')
  }
  faults.withdraw()
  await ok('seed', '-d', master, '--slave', 'beta')

  // Messages are lost, nothing else, and they are written again later.
  faults.order(failing('slave|shipper', '/messages\\.log$'))
  await killServer(slave)
  await running(slave)
  await traffic.more(50)
  faults.withdraw()
  await ok('apply', '-d', slave, 'on')
  t.match(readFileSync(path.join(slave, 'messages.log'), 'utf8'), /apply updates: on"\}\n$/)
  await traffic.kill()
  await checkPair(t, pair, traffic.ids)
})

t.test('a disk that fails', { timeout: 300_000 }, async t => {
  const { pair, faults } = await preparedPair(t)
  const { master, slave } = pair
  await pair.start()
  const acknowledged: string[] = []
  const operations = long ? ['sync', 'write'] : ['sync']
  for (const [index, operation] of operations.entries()) {
    const traffic = Traffic.start(master, `EIO${index}`, 30)
    t.teardown(() => traffic.kill())
    await traffic.more(100)
    // The application has nothing but errors from then on.
    const order = failing('app', segments, 'EIO', operation)
    faults.order(order)
    await traffic.refused(0)
    t.strictSame(traffic.refusals, ['ERR_STOPPED'], operation)
    await traffic.ended()
    faults.withdraw()
    acknowledged.push(...traffic.ids)

    // The slave's server ends, with an exit code of its own, and says why.
    const again = Traffic.start(master, `AGAIN${index}`, 30)
    t.teardown(() => again.kill())
    await again.more(50)
    await ok('stop', '-d', slave)
    const module = new URL('../../src/cli/hb-slave.js', import.meta.url).pathname
    const server = spawn(process.execPath, [module, '-d', slave], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    server.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    const what = operation === 'sync' ? segments : '/log/\\d+\\.log$'
    await until('it is ready', async () => said.includes('is ready'))
    faults.order(failing('slave', what, 'EIO', operation))
    const [code] = (await once(server, 'close')) as [number]
    t.equal(code, 7, said)
    t.match(said, /hb-slave: ERR_STOPPED: the log has stopped: .*EIO/)
    faults.withdraw()
    await running(slave)
    await again.more(50)
    await again.kill()
    acknowledged.push(...again.ids)
    await checkPair(t, pair, acknowledged)
  }
  // A checkpoint's disk is the log's.
  const traffic = Traffic.start(master, 'MORE', 30)
  await traffic.more(50)
  faults.order(failing('slave', '/database/', 'EIO', 'sync'))
  await hb('apply', '-d', slave, 'off')
  await until('it has ended', async () => !(await statusOf(slave)).running)
  t.match(await ok('status', '-d', slave), /ERR_STOPPED: .*EIO/)
  faults.withdraw()
  await running(slave)
  await ok('apply', '-d', slave, 'on')
  await traffic.kill()
  await checkPair(t, pair, [...acknowledged, ...traffic.ids])
})

/** A file system of so many MiB at `directory`; null with the reason when this machine gives none. */
function mount(t: Test, image: string, directory: string, mebibytes: number): string | null {
  if (process.getuid?.() !== 0) return 'mounting needs root'
  try {
    writeFileSync(image, '')
    truncateSync(image, mebibytes << 20)
    execFileSync('mkfs.ext4', ['-q', '-m', '0', image])
    mkdirSync(directory, { recursive: true })
    execFileSync('mount', ['-o', 'loop', image, directory])
  } catch (error) {
    return `no file system can be mounted: ${String(error)}`
  }
  t.teardown(() => execFileSync('umount', ['-l', directory]))
  return null
}

for (const side of ['alpha', 'beta'] as const) {
  t.test(`a small file system under ${side}`, { timeout: 600_000 }, async t => {
    if (!long) {
      t.pass('in the long form only')
      return
    }
    const { pair } = await preparedPair(t)
    const directory = path.join(pair.root, side)
    const kept = path.join(pair.root, 'kept')
    execFileSync('mv', [directory, kept])
    const reason = mount(t, path.join(pair.root, 'image'), directory, 48)
    if (reason !== null) {
      t.pass(`skipped: ${reason}`)
      return
    }
    execFileSync('cp', ['-a', `${kept}/.`, directory])
    await pair.start()
    const acknowledged: string[] = []
    for (let round = 0; round < 3; round++) {
      const traffic = Traffic.start(pair.master, `${side}${round}`, 10)
      t.teardown(() => traffic.kill())
      await traffic.more(200)
      const filler = path.join(directory, 'filler')
      // As root, too, it ends with what is there.
      execFileSync('sh', ['-c', `cat /dev/zero > ${filler} 2> /dev/null || true`])
      traffic.process.kill('SIGUSR2')
      await until('it says so', async () => (await failureOf(directory)) !== null)
      if (side === 'alpha') await traffic.refused(0)
      else await traffic.more(200)
      t.match(await ok('read', '-d', directory, 'KILL', 'ITEMS', `${side}0*0*0`), /value of/)
      rmSync(filler)
      await until('it is well', async () => (await failureOf(directory)) === null)
      await traffic.more(200)
      await traffic.kill()
      acknowledged.push(...traffic.ids)
      await checkPair(t, pair, acknowledged)
    }
  })
}

for (const side of ['alpha', 'beta'] as const) {
  t.test(
    `power failures of ${side}: what was not synced is gone`,
    { timeout: 900_000 },
    async t => {
      if (!long) {
        t.pass('in the long form only')
        return
      }
      const { pair } = await preparedPair(t)
      const directory = path.join(pair.root, side)
      const kept = path.join(pair.root, 'before')
      renameSync(directory, kept)
      mkdirSync(directory)
      const disk = await LazyFileSystem.mount(t, directory, path.join(pair.root, 'lazyfs'))
      if (typeof disk === 'string') {
        t.pass(`skipped: ${disk}`)
        return
      }
      execFileSync('cp', ['-a', `${kept}/.`, directory])
      execFileSync('find', [directory, '-type', 'f', '-exec', 'sync', '{}', '+'])
      rmSync(path.join(directory, 'run'), { recursive: true, force: true })
      symlinkSync(mkdtempSync(path.join(pair.root, 'run-')), path.join(directory, 'run'))
      await pair.start()
      const acknowledged: string[] = []
      for (let round = 0; round < 10; round++) {
        const traffic = Traffic.start(pair.master, `${side}${round}`, round % 2 === 0 ? 0 : 20)
        t.teardown(() => traffic.kill())
        await traffic.more(200 + Math.floor(Math.random() * 2000))
        // In every other round in the middle of a checkpoint, or behind it.
        if (round % 2 === 1 && side === 'alpha') traffic.process.kill('SIGUSR2')
        const checkpoint =
          side === 'beta' && round % 2 === 1 ? hb('apply', '-d', directory, 'off') : null
        await traffic.more(1 + Math.floor(Math.random() * 100))
        if (side === 'alpha') await traffic.kill()
        await killServer(directory)
        await disk.forget()
        await checkpoint
        await running(directory)
        if (side === 'beta') {
          await ok('apply', '-d', directory, 'on')
          await traffic.more(50)
          await traffic.kill()
        }
        acknowledged.push(...traffic.ids)
        await checkPair(t, pair, acknowledged)
        await ok('log', 'verify', '-d', directory)
      }
    },
  )
}
