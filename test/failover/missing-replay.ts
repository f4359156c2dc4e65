// Updates that an old master had alone are brought to the new one: whole transactions, in order, without writing over
// what the new one has changed itself; while an application goes on writing.
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { ask } from '../../src/control/operation.ts'
import type { MissingReport, MissingRequest } from '../../src/failover/failover-operations.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { setup } from '../../src/config/setup.ts'
import { verifyOperations } from '../../src/repair/repair-operations.ts'
import { replayMissingOn } from '../../src/server/missing-command.ts'
import { saveMissing } from '../../src/failover/missing-updates.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import { withData } from '../../src/server/sessions.ts'
import { edit, ok, temporaryDirectory } from '../helpers/servers.ts'

const { disk } = nodePlatform

/** Two masters with one history so far: items 0 to 9 of A F, each with the value "base". */
async function fork(t: Test) {
  const root = temporaryDirectory(t)
  const [ours, old] = [path.join(root, 'ours'), path.join(root, 'old')]
  await setup(nodePlatform, ours, {
    type: 'master',
    name: 'ours',
    key: false,
    listen: null,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  const master = await Master.open(ours)
  const file = await (await master.createAccount('A')).createFile('F')
  for (let id = 0; id < 10; id++) await file.write(`${id}`, 'base')
  await master.close()
  cpSync(ours, old, { recursive: true })
  const mark = await readDurableMark(disk, path.join(ours, 'log'))
  if (mark === null) throw new Error('nothing is durable')
  /** What the old master does alone; the path of its missing updates. */
  const alone = async (work: (master: Master) => Promise<unknown>): Promise<string> => {
    const master = await Master.open(old)
    await work(master)
    await master.close()
    return (await saveMissing(disk, layoutOf(old), { txn: mark.txn, chain: mark.chain })).path
  }
  const bring = (missing: string, request: Partial<MissingRequest> = {}): Promise<MissingReport> =>
    replayMissingOn(
      nodePlatform,
      ours,
      { path: missing, account: null, file: null, overwrite: false, dryRun: false, ...request },
      () => {},
      new AbortController().signal,
    )
  return { ours, alone, bring }
}

async function values(master: Master, ...ids: string[]): Promise<string[]> {
  const file = master.account('A').file('F')
  return Promise.all(ids.map(async id => String(await file.read(id))))
}

t.test('a master that has verified its slaves alone has missed nothing by that', async t => {
  const { ours, alone, bring } = await fork(t)
  const missing = await alone(async old => {
    // Its log has not mapped the file by then: only verify records are about it.
    await withData(nodePlatform, old.directory, 'write', data =>
      ask(data, verifyOperations.verifyPass, { account: null, file: null }),
    )
    await (await old.createAccount('B')).createFile('G')
  })
  const list = readFileSync(missing.replace(/log$/, 'jsonl'), 'utf8')
  t.notMatch(list, /verify/)
  t.match(await bring(missing), { applied: 2, leftOut: 0 })
  const master = await Master.open(ours)
  t.ok(master.account('B').file('G'))
  await master.close()
})

t.test('what has changed since stays, with the whole of its transaction', async t => {
  const { ours, alone, bring } = await fork(t)
  const missing = await alone(async old => {
    const file = old.account('A').file('F')
    await file.write('0', 'old')
    await file.write('0', 'older still, and last')
    await file.delete('1')
    await old.transaction(transaction => {
      transaction.write(file, '2', 'old')
      transaction.write(file, '3', 'old')
    })
    await old.transaction(transaction => {
      transaction.write(file, '4', 'old')
      transaction.write(file, 'new', 'old')
    })
    const other = await (await old.createAccount('B')).createFile('G', { modulo: 7 })
    await other.write('x', 'y')
  })
  const master = await Master.open(ours)
  const file = master.account('A').file('F')
  await file.write('3', 'ours')
  const dry = await bring(missing, { dryRun: true })
  t.match(dry, { applied: 7, leftOut: 1 })
  t.strictSame(await values(master, '0', '1', '2', '3', '4'), [
    'base',
    'base',
    'base',
    'ours',
    'base',
  ])
  const report = await bring(missing)
  t.match(report, {
    applied: 7,
    leftOut: 1,
    kept: [{ account: 'A', file: 'F', id: '3', why: 'changed since' }],
  })
  t.strictSame(await values(master, '0', '1', '2', '3', '4', 'new'), [
    'older still, and last',
    'null',
    'base',
    'ours',
    'old',
    'old',
  ])
  t.equal(master.account('B').file('G').modulo, 7)
  t.equal(String(await master.account('B').file('G').read('x')), 'y')
  t.match(await bring(missing), { applied: 2, leftOut: 6 }, 'what is there already changes nothing')
  t.match(await bring(missing, { overwrite: true }), { applied: 8, leftOut: 0 })
  t.strictSame(await values(master, '2', '3'), ['old', 'old'])
  await master.close()
})

t.test('whole files', async t => {
  const { ours, alone, bring } = await fork(t)
  const missing = await alone(async old => {
    const account = old.account('A')
    await account.createFile('GONE')
    await account.file('F').clear()
    await account.file('F').write('a', 'after the clear')
    await account.file('F').resize(31)
    await account.file('GONE').write('x', 'y')
    await account.deleteFile('GONE')
    await old.createAccount('B')
    await old.deleteAccount('B')
  })
  const filtered = await bring(missing, { account: 'B' })
  t.match(filtered, { applied: 2, leftOut: 0 }, 'one account, with nobody there')
  t.match(await bring(missing, { account: 'A' }), { applied: 6, leftOut: 0 })
  const master = await Master.open(ours)
  const file = master.account('A').file('F')
  t.equal(file.itemCount, 1)
  t.equal(file.modulo, 31)
  t.strictSame(master.account('A').files(), ['F'])
  t.strictSame(master.accounts(), ['A'])
  await master.close()
})

t.test(
  'a file that was changed or emptied since is not cleared, and one that has gone is missed',
  async t => {
    const { ours, alone, bring } = await fork(t)
    const missing = await alone(async old => {
      const file = old.account('A').file('F')
      await file.write('5', 'old')
      await file.clear()
      await file.write('z', 'old')
    })
    const master = await Master.open(ours)
    await master.account('A').file('F').write('9', 'ours')
    t.match(await bring(missing, { dryRun: true }), {
      applied: 2,
      kept: [{ id: null, why: 'changed since' }],
    })
    await master.account('A').file('F').clear()
    t.match(await bring(missing, { dryRun: true }), { applied: 0, leftOut: 3 })
    await master.account('A').deleteFile('F')
    t.match(await bring(missing), {
      applied: 0,
      leftOut: 3,
      kept: [{ why: 'not there' }, { why: 'not there' }, { why: 'not there' }],
    })
    await master.close()
  },
)

t.test('while an application writes', async t => {
  const { ours: directory, alone, bring } = await fork(t)
  const count = 3000
  const missing = await alone(async old => {
    const file = old.account('A').file('F')
    await file.write('0', 'first')
    for (let id = 0; id < count; id++) void file.write(`old ${id}`, 'old')
    await file.write('0', 'last')
  })
  const master = await Master.open(directory)
  const file = master.account('A').file('F')
  let writing = true
  let written = 0
  const application = (async () => {
    while (writing) {
      await file.write(`old ${(written * 7) % count}`, 'ours')
      written++
    }
  })()
  const report = await bring(missing)
  writing = false
  await application
  t.equal(report.applied + report.leftOut, count + 2)
  t.equal(String(await file.read('0')), 'last', 'what it has brought itself does not count')
  t.ok(written > 0, `${written} updates meanwhile`)
  const ours = new Set<string>()
  for (const line of (await ok('log', 'dump', '-d', directory, '--json')).trimEnd().split('\n')) {
    const { id, value } = JSON.parse(line) as { id: string; value: string }
    if (value === 'ours') ours.add(id)
    else if (value === 'old' && ours.has(id)) t.fail(`${id} was written over`)
  }
  await master.close()
})

t.test('what does not belong here is refused, and nothing is changed', async t => {
  const { ours, alone, bring } = await fork(t)
  const missing = await alone(old => old.account('A').file('F').write('5', 'old'))
  const other = await fork(t)
  await t.rejects(other.bring(missing), { code: 'ERR_LOG_FOREIGN' }, 'another database')
  await t.rejects(bring(`${missing}.none`), { code: 'ERR_USAGE' })
  const bytes = readFileSync(missing)
  bytes[bytes.length - 20]! ^= 1
  writeFileSync(`${missing}.bad`, bytes)
  await t.rejects(bring(`${missing}.bad`), { code: 'ERR_LOG_CORRUPT' })

  edit(ours, /^(# )?keep_time = .*$/m, 'keep_time = "0"')
  const master = await Master.open(ours)
  const file = master.account('A').file('F')
  const big = Buffer.alloc(1 << 20)
  for (let id = 0; id < 40; id++) await file.write(`${id % 4}`, big)
  await master.checkpoint()
  await master.close()
  const segments = () => readdirSync(path.join(ours, 'log')).filter(name => name.endsWith('.log'))
  t.notOk(segments().includes('0000000000000001.log'), 'the log begins later')
  await t.rejects(bring(missing), { code: 'ERR_LOG_REMOVED', message: /--overwrite/ })
  t.match(await bring(missing, { overwrite: true }), { applied: 1, leftOut: 0 })
  rmSync(`${missing}.bad`)
})
