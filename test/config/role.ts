// The role of a server and what it has learned: the file, what counts against hb.toml, and hb.toml with the line ends
// of Windows. And a disk that fails at any step of a promotion or a rejoin, once or until it is repaired.
import t from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import { placeOf } from '../../src/log/cut-back.ts'
import { writeFileAtomic } from '../../src/platform/atomic-file.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { withoutKey, withoutSlave, withSlave, withValue } from '../../src/config/config-edit.ts'
import { initialConfigText } from '../../src/config/config-text.ts'
import { loadConfig, parseConfig } from '../../src/config/config.ts'
import { decodeRole, encodeRole, newRole, readRole, writeRole } from '../../src/config/role.ts'
import { removeSlave } from '../../src/failover/forget.ts'
import { enterSlave } from '../../src/failover/joining.ts'
import { promoteLog, tryPromotion } from '../../src/failover/promotion.ts'
import { rejoin } from '../../src/failover/rejoin.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { commitEach, HandClock, openHistory, openLog, readAll } from '../helpers/log-samples.ts'
import { MemoryDisk, type DiskOperation } from '../helpers/memory-disk.ts'

const layout = layoutOf('/server')
const text = initialConfigText({
  name: 'alpha',
  listen: '127.0.0.1:2000',
  key: false,
  slaves: [{ name: 'beta', address: '127.0.0.1:2001' }],
  applyUpdates: true,
  logSlaveUpdates: true,
  autoCreate: false,
})

async function makeServer(type: 'master' | 'slave', source = text): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(layout.slaves)
  await writeFileAtomic(disk, layout.config, Buffer.from(source))
  await writeRole(disk, layout, newRole(type))
  return disk
}

t.test('a role that is missing or damaged is unknown', async t => {
  const disk = await makeServer('master')
  const whole = encodeRole(newRole('master'))
  for (const broken of [
    '',
    whole.slice(0, -2),
    whole.replace('master', 'slave'),
    'x'.repeat(1e6),
  ]) {
    t.equal(decodeRole(broken), null)
    await writeFileAtomic(disk, layout.role, Buffer.from(broken))
    await t.rejects(loadConfig(disk, layout), { code: 'ERR_ROLE', message: /is damaged/ })
  }
  await disk.remove(layout.role)
  await t.rejects(loadConfig(disk, layout), { code: 'ERR_ROLE', message: /is missing/ })
})

t.test('what was said last about an address counts', async t => {
  const disk = await makeServer('master')
  await enterSlave({ disk }, layout, 'beta', '127.0.0.1:2005')
  await enterSlave({ disk }, layout, 'gamma', '127.0.0.1:2006')
  const ports = async () =>
    (await loadConfig(disk, layout)).slaves.map(({ name, address }) => `${name} ${address.port}`)
  t.strictSame(await ports(), ['beta 2005', 'gamma 2006'])
  t.equal(disk.contents(layout.config).toString(), text, 'hb.toml is as it was')
  await writeFileAtomic(disk, layout.config, Buffer.from(text.replace(':2001', ':2007')))
  t.strictSame(await ports(), ['beta 2007', 'gamma 2006'], 'hb.toml was changed since')
  await t.rejects(removeSlave(disk, layout, 'beta'), { code: 'ERR_CONFIG' })
  await t.rejects(removeSlave(disk, layout, 'delta'), { code: 'ERR_NO_SLAVE' })
  await removeSlave(disk, layout, 'gamma')
  t.strictSame(await ports(), ['beta 2007'])
  await writeRole(disk, layout, { ...newRole('slave'), master: 'beta' })
  t.match(await loadConfig(disk, layout), { slaves: [], ships: false }, 'nothing to its own master')
  const named = text.replace('127.0.0.1:2001', 'localhost:2001')
  await writeFileAtomic(disk, layout.config, Buffer.from(named))
  await writeRole(disk, layout, newRole('master'))
  await enterSlave({ disk }, layout, 'beta', '127.0.0.1:2001', false)
  t.match((await loadConfig(disk, layout)).slaves, [{ address: { host: 'localhost' } }])
})

t.test('hb.toml: one value changes, all else stays, line ends as well', async t => {
  for (const end of ['\n', '\r\n']) {
    const source = text.replaceAll('\n', end)
    const lines = (changed: string) => changed.split(end)
    const parsed = (changed: string) => parseConfig(changed, layout, newRole('slave'))
    const moved = withValue(source, 'link', 'listen', '"127.0.0.1:2009"')
    t.equal(moved, source.replace('"127.0.0.1:2000"', '"127.0.0.1:2009"'))
    const shown = withValue(source, 'log', 'fsync', '"os"')
    t.equal(shown, source.replace('# fsync = "commit"', 'fsync = "os"'))
    const more = withSlave(source, 'gamma', '127.0.0.1:2003')
    t.match(parsed(more).slaves, [{ name: 'beta' }, { name: 'gamma' }])
    t.match(parsed(withSlave(more, 'gamma', '127.0.0.1:2004')).slaves[1], {
      address: { port: 2004 },
    })
    t.strictSame(parsed(withoutSlave(more, 'gamma', 'x')).slaves, parsed(source).slaves)
    t.match(parsed(withoutKey(source, 'link', 'listen')), { link: { listen: { port: 2000 } } })
    t.equal(parsed(withValue(source, 'extra', 'key', '1').split(end + '[extra]')[0]!).name, 'alpha')
    for (const changed of [moved, shown, more]) {
      t.equal(lines(changed).join('').includes('\r'), false, 'no line ends in another way')
      t.equal(lines(changed).join('').includes('\n'), false)
    }
    const disk = await makeServer('slave', `\uFEFF${source}`)
    t.equal((await loadConfig(disk, layout)).name, 'alpha', 'with a byte order mark')
  }
})

const changes: readonly DiskOperation[] = [
  'open',
  'rename',
  'remove',
  'write',
  'sync',
  'truncate',
  'syncDirectory',
  'makeDirectory',
]

/** The nth change of the disk fails, and with `lasting` every one after it. False when there are fewer. */
function failing(disk: MemoryDisk, nth: number, lasting: boolean): () => boolean {
  let count = 0
  disk.before = (operation, path) => {
    // What is opened to be read is no change.
    const reads = operation === 'open' && !/\.(tmp|log)$/.test(path)
    if (reads || !changes.includes(operation)) return
    count++
    if (count === nth || (lasting && count > nth)) {
      throw new HotBackupError('ERR_DISK', `cannot ${operation} ${path}: EACCES`, { path })
    }
  }
  return () => {
    disk.before = null
    return count >= nth
  }
}

t.test('a disk that fails at any step of a promotion', async t => {
  let seed = 0
  const random = { bytes: (length: number) => new Uint8Array(length).fill(++seed) }
  const seen = { slave: 0, unfinished: 0, master: 0 }
  for (const lasting of [false, true]) {
    for (let nth = 1, hit = true; hit; nth++) {
      const disk = await makeServer('slave')
      let log = await openHistory({ disk })
      await commitEach(log, 5)
      const promote = async () => {
        await tryPromotion({ disk }, layout)
        const config = await loadConfig(disk, layout)
        await promoteLog({ disk, clock: new HandClock(), random }, layout, config, log)
      }
      const repaired = failing(disk, nth, lasting)
      const error = await promote().then(
        () => null,
        (error: unknown) => error,
      )
      hit = repaired()
      await log.close().catch(() => {})
      log = await openLog({ disk, ownPromises: false, knownDurableTxn: 5 })
      const { type } = await readRole(disk, layout)
      const decided = log.identity?.timeline === 2
      if (error === null) t.ok(type === 'master' && decided, `step ${nth}`)
      else if (!isHotBackupError(error)) throw error as Error
      else if (error.code === 'ERR_PROMOTING') t.ok(decided, `step ${nth}: it goes on`)
      if (type === 'slave') seen[decided ? 'unfinished' : 'slave']++
      else seen.master++
      if (type === 'slave') await promote()
      t.equal((await readRole(disk, layout)).type, 'master', `step ${nth}: there is one master`)
      await log.close()
      const records = await readAll(disk)
      t.equal(records.filter(shown => shown.includes('promote')).length, 1)
      t.equal(disk.contents(layout.config).toString(), text)
    }
  }
  t.ok(seen.slave > 0 && seen.unfinished > 0 && seen.master > 0, JSON.stringify(seen))
})

t.test('a disk that fails at any step behind the plan of a rejoin', async t => {
  for (const lasting of [false, true]) {
    for (let nth = 1, hit = true; hit; nth++) {
      const disk = await makeServer('master')
      const log = await openHistory({ disk })
      await commitEach(log, 12)
      const fork = log.position
      await commitEach(log, 8)
      await log.close()
      const place = await placeOf(disk, layout.log, fork)
      const plan = { master: 'beta', from: '127.0.0.1:2001', listen: '127.0.0.1:2002', moved: true }
      const json = JSON.stringify({ ...plan, forkTxn: 12, place, missing: null })
      await writeFileAtomic(disk, layout.rejoin, Buffer.from(json))
      const again = () =>
        rejoin({ ...nodePlatform, disk }, layout.directory, {
          from: null,
          listen: null,
          newCopy: false,
        })
      const repaired = failing(disk, nth, lasting)
      const outcome = await again().catch((error: unknown) => error)
      hit = repaired()
      if (await disk.exists(layout.rejoin)) {
        t.match(outcome, { code: 'ERR_REJOINING', hint: /hb rejoin/ }, `step ${nth}`)
        await again()
      }
      t.match(await loadConfig(disk, layout), { type: 'slave', link: { listen: { port: 2002 } } })
      t.equal(disk.contents(layout.config).toString(), text)
      const cut = await openLog({ disk, ownPromises: false })
      t.strictSame(cut.position, fork, 'what both have is there')
      await cut.close()
    }
  }
})
