// Promotion on a disk in memory that crashes at every one of its operations; and the changes of hb.toml.
import { join } from 'node:path'
import t from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { writeFileAtomic } from '../../src/platform/atomic-file.ts'
import {
  withListen,
  withoutSlave,
  withSlave,
  withType,
} from '../../src/server/config/config-edit.ts'
import { initialConfigText } from '../../src/server/config/config-text.ts'
import { loadConfig, parseConfig } from '../../src/server/config/config.ts'
import {
  checkMasterConfig,
  promoteLog,
  readPromotion,
  unfinishedPromotion,
} from '../../src/server/failover/promotion.ts'
import { layoutOf } from '../../src/server/layout.ts'
import { attributes, HandClock, openHistory, openLog, readAll } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const layout = layoutOf('/server')
const text = initialConfigText({
  name: 'beta',
  type: 'slave',
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
      t.equal((await loadConfig(disk, layout)).type, 'master')
      t.equal(log.lastTxn, 6)
      await log.close()
      const records = await readAll(disk)
      t.equal(records.filter(shown => shown.includes('promote')).length, 1, 'one promote record')
      t.match(await readPromotion(disk, layout), { timeline: 2, fork: { txn: 5 }, awaited: true })
      t.equal(await disk.exists(layout.applySwitch), false)
      t.equal(await disk.exists(layout.fenced), false)
      if (!crashed) break
    }
  }
  t.ok(seen.slave > 0 && seen.unfinished > 0 && seen.master > 0, JSON.stringify(seen))
})

t.test('a file that somebody has changed is refused', async t => {
  const disk = new MemoryDisk()
  await makeSlave(disk)
  await writeFileAtomic(disk, join(layout.directory, 'promotion'), Buffer.from('{}'))
  await t.rejects(readPromotion(disk, layout), { code: 'ERR_CONFIG' })
})

t.test('an hb.toml that no master can have is refused before anything is begun', async t => {
  const disk = new MemoryDisk()
  await makeSlave(disk)
  await checkMasterConfig({ disk }, layout)
  const wrong = `${text}\n[commit]\nlevel = "applied"\nslaves = 2\n`
  await writeFileAtomic(disk, layout.config, Buffer.from(wrong))
  await t.rejects(checkMasterConfig({ disk }, layout), { code: 'ERR_CONFIG' })
  const unusual = text.replace('type = "slave"', '"ty\\u0070e" = "slave"')
  await writeFileAtomic(disk, layout.config, Buffer.from(unusual))
  await t.rejects(checkMasterConfig({ disk }, layout), { code: 'ERR_CONFIG' })
})

t.test('hb.toml: one value changes, all else stays', async t => {
  const master = withType(text, 'master')
  t.equal(master, text.replace('type = "slave"', 'type = "master"'))
  t.match(parseConfig(master, layout), { type: 'master', slaves: [{ name: 'gamma' }] })

  const moved = withListen(text, '127.0.0.1:2009')
  t.equal(moved, text.replace('"127.0.0.1:2001"', '"127.0.0.1:2009"'))
  const shown = text.replace('listen = "127.0.0.1:2001"', '# listen = "0.0.0.0:2000"')
  t.equal(withListen(shown, '127.0.0.1:2001'), text, 'in the place of the default')
  const bare = 'name = "n"\ntype = "master"\n'
  t.equal(parseConfig(withListen(bare, '127.0.0.1:2009'), layout).link.listen.port, 2009)
  const commented = 'name = "n"\ntype = \'slave\' # of north\n[link] # the network\n'
  t.equal(
    withListen(withType(commented, 'master'), '127.0.0.1:2009'),
    'name = "n"\ntype = "master" # of north\n[link] # the network\nlisten = "127.0.0.1:2009"\n',
  )

  const more = withSlave(text, 'alpha', '127.0.0.1:2003')
  t.ok(more.startsWith(text))
  t.match(parseConfig(more, layout).slaves, [
    { name: 'gamma', address: { port: 2002 } },
    { name: 'alpha', address: { port: 2003 } },
  ])
  t.equal(withSlave(more, 'alpha', '127.0.0.1:2003'), more, 'it is there already')
  t.equal(withSlave(more, 'gamma', '127.0.0.1:2004'), more.replace('2002', '2004'), 'it moved')
  const less = withoutSlave(more, 'alpha', '127.0.0.1:9999')
  t.strictSame(parseConfig(less, layout).slaves, parseConfig(text, layout).slaves)
  t.strictSame(parseConfig(withoutSlave(less, 'x', '127.0.0.1:2002'), layout).slaves, [])
  t.equal(withoutSlave(text, 'alpha', '127.0.0.1:9999'), text)
})
