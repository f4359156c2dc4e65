// Promotion on a disk in memory that crashes at every one of its operations, and the checks before it.
import { join } from 'node:path'
import t from 'tap'
import {
  damagedPromotion,
  readPromotion,
  unfinishedPromotion,
} from '../../src/config/promotion-file.ts'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { writeFileAtomic } from '../../src/platform/atomic-file.ts'
import { initialConfigText } from '../../src/config/config-text.ts'
import { loadConfig } from '../../src/config/config.ts'
import { readUpstream, writeUpstream } from '../../src/config/identity.ts'
import { newRole, readRole, writeRole } from '../../src/config/role.ts'
import { nextTimeline, promoteLog, tryPromotion } from '../../src/failover/promotion.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { attributes, HandClock, openHistory, openLog, readAll } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const layout = layoutOf('/server')
const text = initialConfigText({
  name: 'beta',
  listen: '127.0.0.1:2001',
  key: false,
  slaves: [{ name: 'gamma', address: '127.0.0.1:2002' }],
  applyUpdates: true,
  logSlaveUpdates: true,
  autoCreate: false,
})

async function makeSlave(disk: MemoryDisk): Promise<void> {
  await disk.makeDirectory(layout.directory)
  await writeFileAtomic(disk, layout.config, Buffer.from(text))
  await writeRole(disk, layout, { ...newRole('slave'), master: 'alpha' })
  await writeFileAtomic(disk, layout.applySwitch, Buffer.from('off\n'))
  await writeFileAtomic(disk, layout.fenced, Buffer.from('{}'))
  const log = await openHistory({ disk })
  for (let count = 0; count < 5; count++) {
    const records = log.begin()
    log.ensureMapped(1, attributes)
    records.writeItem(1, `item-${count}`, 'value')
    log.commit()
    await log.synced()
  }
  await log.close()
  await disk.syncDirectory(layout.directory)
}

let seed = 0
const random = { bytes: (length: number) => new Uint8Array(length).fill(++seed) }

async function promote(disk: MemoryDisk, log: LogWriter): Promise<void> {
  const config = await loadConfig(disk, layout)
  await promoteLog({ disk, clock: new HandClock(), random }, layout, config, log)
}

/** Runs it with a crash at the disk's operation of that number; false when it needs fewer. */
async function crashAt(disk: MemoryDisk, operation: number, keep: boolean): Promise<boolean> {
  let count = 0
  const log = await openLog({ disk, ownPromises: false, knownDurableTxn: 5 })
  disk.before = () => {
    count++
    if (count === operation) disk.crash(() => keep)
    // The process is gone with the machine.
    if (count >= operation) throw new HotBackupError('ERR_DISK', 'the machine is off')
  }
  try {
    await promote(disk, log)
    await log.close()
  } catch (error) {
    if (!isHotBackupError(error)) throw error
  }
  disk.before = null
  await log.close().catch(() => {})
  return count >= operation
}

t.test('a crash anywhere leaves a slave, or one whose promotion goes on', async t => {
  const seen = { slave: 0, unfinished: 0, master: 0 }
  for (const keep of [false, true]) {
    for (let operation = 1; ; operation++) {
      const disk = new MemoryDisk()
      await makeSlave(disk)
      const crashed = await crashAt(disk, operation, keep)
      const config = await loadConfig(disk, layout)
      let log = await openLog({ disk, ownPromises: false, knownDurableTxn: 5 })
      const unfinished = await unfinishedPromotion(disk, layout, config, log)
      if (config.type === 'master') {
        seen.master++
        t.equal(log.identity?.timeline, 2)
      } else if (unfinished === null) {
        seen.slave++
        t.equal(log.lastTxn, 5, 'nothing has happened')
        t.equal(log.identity?.timeline, 1)
      } else {
        seen.unfinished++
        t.equal(log.identity?.timeline, 2)
      }
      if (config.type === 'slave') await promote(disk, log)
      await log.close()
      log = await openLog({ disk })
      t.match(await readRole(disk, layout), { type: 'master', master: null })
      t.equal(log.lastTxn, 6)
      await log.close()
      const records = await readAll(disk)
      t.equal(records.filter(shown => shown.includes('promote')).length, 1, 'one promote record')
      t.match(await readPromotion(disk, layout), { timeline: 2, fork: { txn: 5 }, awaited: true })
      t.equal(await disk.exists(layout.fenced), false)
      if (!crashed) break
    }
  }
  t.ok(seen.slave > 0 && seen.unfinished > 0 && seen.master > 0, JSON.stringify(seen))
})

t.test('a promotion begins a timeline later than all that the server has heard of', async t => {
  for (const [heard, timeline] of [
    [0, 2],
    [1, 2],
    [4, 5],
  ] as const) {
    const disk = new MemoryDisk()
    await makeSlave(disk)
    const servers = [new Uint8Array(16).fill(7)]
    await writeUpstream(disk, layout, { servers, timeline: heard })
    t.strictSame(await readUpstream(disk, layout), {
      servers: servers.map(id => Buffer.from(id)),
      timeline: heard,
    })
    const log = await openLog({ disk, ownPromises: false })
    t.equal(await nextTimeline(disk, layout, 1), timeline)
    await promote(disk, log)
    t.equal(log.identity?.timeline, timeline)
    await log.close()
  }
})

t.test('on a slave a damaged file decides nothing', async t => {
  const disk = new MemoryDisk()
  await makeSlave(disk)
  await writeFileAtomic(disk, join(layout.directory, 'promotion'), Buffer.from('{}'))
  t.strictSame(await readPromotion(disk, layout), damagedPromotion)
  const config = await loadConfig(disk, layout)
  const zeros = new Uint8Array(16)
  const log = { identity: { databaseId: zeros, lineageId: zeros, timeline: 1 } }
  t.equal(await unfinishedPromotion(disk, layout, config, log), null)
})

t.test('an hb.toml that no master can have is refused before anything is begun', async t => {
  const disk = new MemoryDisk()
  await makeSlave(disk)
  await tryPromotion({ disk }, layout)
  const wrong = `${text}\n[commit]\nlevel = "applied"\nslaves = 2\n`
  await writeFileAtomic(disk, layout.config, Buffer.from(wrong))
  await t.rejects(tryPromotion({ disk }, layout), { code: 'ERR_CONFIG' })
  t.match(await readRole(disk, layout), { type: 'slave', master: 'alpha' })
})
