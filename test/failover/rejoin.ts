// An old master that becomes a slave, on a disk in memory that crashes at every operation behind the plan; what a
// promoted server keeps for it; and how far its own database files may go.
import t from 'tap'
import { writePromotion } from '../../src/config/promotion-file.ts'
import { placeOf } from '../../src/log/cut-back.ts'
import { writeFileAtomic } from '../../src/platform/atomic-file.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { initialConfigText } from '../../src/config/config-text.ts'
import { loadConfig, parseConfig } from '../../src/config/config.ts'
import { readUpstream } from '../../src/config/identity.ts'
import { newRole, writeRole } from '../../src/config/role.ts'
import { writeFenced } from '../../src/config/fence.ts'
import { saveMissing } from '../../src/failover/missing-updates.ts'
import { neededForReturn } from '../../src/failover/old-master.ts'
import { listenAsSlave, rejoin } from '../../src/failover/rejoin.ts'
import { ackSourceOf, layoutOf } from '../../src/config/layout.ts'
import { ReachedSlaves } from '../../src/updates/reached-slaves.ts'
import { encodeAck } from '../../src/ship/ack-file.ts'
import { commitEach, openHistory, openLog, readAll } from '../helpers/log-samples.ts'
import { ackAt, HeldLocks } from '../helpers/acks.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { TestClock } from '../helpers/test-clock.ts'

const layout = layoutOf('/server')
const text = initialConfigText({
  name: 'alpha',
  listen: null,
  key: false,
  slaves: [{ name: 'beta', address: '127.0.0.1:2001' }],
  applyUpdates: true,
  logSlaveUpdates: false,
  autoCreate: false,
})

const source = ackSourceOf(layout, 'master')

function ack(durableTxn: number, time = 1): Buffer {
  return encodeAck(ackAt(durableTxn, { time }))
}

const promotion = {
  timeline: 2,
  lineage: '22'.repeat(16),
  fork: { txn: 12, chain: 1 },
  time: 5,
  awaited: true,
}

async function makeMaster(disk: MemoryDisk): Promise<void> {
  await disk.makeDirectory(layout.slaves)
  await writeFileAtomic(disk, layout.config, Buffer.from(text))
  await writeRole(disk, layout, newRole('master'))
  await writeFileAtomic(disk, `${layout.slaves}/beta.ack`, ack(20))
  await disk.syncDirectory('/server')
}

t.test('where a master listens as a slave when no address is named', async t => {
  const here = { host: '127.0.0.1', port: 2001 }
  const there = { host: '2001:db8::7', port: 2000 }
  const named = { host: '*', port: 2002 }
  const key = '[link]\nkey = "hb.key"\n'
  const config = (toml: string) => parseConfig(`name = "alpha"\n${toml}`, layout, newRole('master'))
  t.equal(listenAsSlave(config(`${key}listen = "*:2003"`), null, there), null, 'as hb.toml says')
  t.strictSame(listenAsSlave(config(key), named, there), named, 'as the option says')
  t.strictSame(listenAsSlave(config(key), null, here), { host: '127.0.0.1', port: 2000 })
  t.throws(() => listenAsSlave(config(key), null, there), {
    code: 'ERR_USAGE',
    message: /--listen/,
  })
})

t.test('a crash anywhere behind the plan: the next call completes it', async t => {
  for (const keep of [false, true]) {
    for (let operation = 1; ; operation++) {
      const disk = new MemoryDisk()
      await makeMaster(disk)
      await writePromotion(disk, layout, promotion)
      const by = { timeline: 2, lineage: '22'.repeat(16), by: 'beta', address: 'x:1', time: 1 }
      await writeFenced(disk, layout, by)
      const log = await openHistory({ disk })
      await commitEach(log, 12)
      const fork = log.position
      await commitEach(log, 8)
      await log.close()
      const whole = await readAll(disk)
      const plan = {
        master: 'beta',
        from: '127.0.0.1:2001',
        listen: '127.0.0.1:2002',
        moved: true,
        timeline: 3,
        forkTxn: 12,
        place: await placeOf(disk, layout.log, fork),
        missing: await saveMissing(disk, layout, fork),
      }
      await writeFileAtomic(disk, layout.rejoin, Buffer.from(JSON.stringify(plan)))

      const platform = { ...nodePlatform, disk }
      const options = { from: { host: 'x', port: 1 }, listen: null, newCopy: false }
      let count = 0
      disk.before = () => {
        if (++count === operation) disk.crash(() => keep)
        if (count >= operation) throw new Error('the machine is off')
      }
      await rejoin(platform, layout.directory, options).catch(() => {})
      disk.before = null
      const interrupted = await disk.exists(layout.rejoin)
      if (interrupted) {
        t.match(await rejoin(platform, layout.directory, options), { master: 'beta', forkTxn: 12 })
      }
      const config = await loadConfig(disk, layout)
      t.match(config, { type: 'slave', link: { listen: { port: 2002 } } })
      t.strictSame(config.slaves, [], 'the new master is no slave of its slave')
      t.equal((await readUpstream(disk, layout)).timeline, 3, 'the new master is on it')
      const ack = `${layout.slaves}/beta.ack`
      for (const gone of [layout.rejoin, layout.fenced, layout.promotion, ack]) {
        t.equal(await disk.exists(gone), false, gone)
      }
      const again = await openLog({ disk, ownPromises: false })
      t.strictSame(again.position, fork)
      await again.close()
      t.strictSame(await readAll(disk), whole.slice(0, 12))
      t.ok(await disk.exists(plan.missing.path), 'what was saved is there')
      if (count < operation) break
    }
  }
})

t.test('the log is kept for an old master, and for slaves that have joined meanwhile', async t => {
  const disk = new MemoryDisk()
  await makeMaster(disk)
  const needed = (logBytes: number) => neededForReturn({ disk }, layout, logBytes)
  t.equal(await needed(0), 20, 'what the slave has stored')
  await writePromotion(disk, layout, promotion)
  t.equal(await needed(0), 12, 'and what an old master may lack')
  t.equal(await needed(11 * 2 ** 30), 20, 'up to a size')
  await writePromotion(disk, layout, { ...promotion, awaited: false })
  t.equal(await needed(0), 20, 'it has come back')
  const more = `${text}\n[[slaves]]\nname = "gamma"\naddress = "127.0.0.1:2003"\n`
  await writeFileAtomic(disk, layout.config, Buffer.from(more))
  t.equal(await needed(0), 0, 'a new slave needs everything')
  await writeFileAtomic(disk, layout.config, Buffer.from('half a line'))
  t.equal(await needed(0), 0, 'as long as it cannot be known')
})

t.test('database files wait for slaves that are there, and for no others', async t => {
  const disk = new MemoryDisk()
  await makeMaster(disk)
  const clock = new TestClock()
  const locks = new HeldLocks()
  const world = { disk, clock, locks }
  const reached = new ReachedSlaves(world, source, { slaves: [{ name: 'beta' }] })
  t.equal(await reached.wait(20, 0), true)
  t.equal(await reached.wait(21, 0), false)
  t.equal(await new ReachedSlaves(world, source, { slaves: [] }).wait(21, 0), true, 'no slave')
  const waiting = reached.wait(21, 1000)
  await writeFileAtomic(disk, `${layout.slaves}/beta.ack`, ack(21))
  clock.advance(500)
  t.equal(await waiting, true)
  await reached.waitForFresh(22, 1000, () => true)
  t.pass('it has said nothing for long')
  let asked = 0
  await writeFileAtomic(disk, `${layout.slaves}/beta.ack`, ack(21, clock.now()))
  await reached.waitForFresh(22, 1000, () => ++asked < 1)
  t.equal(asked, 1, 'nobody waits when there is no room')
})
