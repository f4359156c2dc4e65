// Which files are replicated: what slaves make of a master's log when files are local, excluded, and become replicated
// while others write them.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Database } from '../../src/database/database.ts'
import { digestDatabase } from '../../src/database/digest.ts'
import { replayLog } from '../../src/database/replay.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { FilePatterns } from '../../src/config/file-patterns.ts'
import { setup } from '../../src/config/setup.ts'
import { Master } from '../../src/server/master.ts'
import { whyLines, whyReplicated } from '../../src/data/why.ts'
import { withData } from '../../src/server/sessions.ts'
import { digestOfMaster } from '../helpers/master-digest.ts'
import { temporaryDirectory } from '../helpers/servers.ts'
import { runs } from '../helpers/long-form.ts'

async function makeMaster(
  t: Test,
): Promise<{ directory: string; replica: () => Promise<Replica> }> {
  const root = temporaryDirectory(t)
  const directory = path.join(root, 'alpha')
  await setup(nodePlatform, directory, {
    type: 'master',
    name: 'alpha',
    key: false,
    listen: null,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  const replicaDirectory = path.join(root, 'beta')
  await nodePlatform.disk.makeDirectory(replicaDirectory)
  return { directory, replica: () => openReplica(replicaDirectory, path.join(directory, 'log')) }
}

interface Replica {
  readonly database: Database
  /** Applies what is durable on the master. */
  follow(): Promise<void>
  digest(): Promise<string>
  close(): Promise<void>
}

/** What a slave does with its log, which holds the same bytes as the master's. */
async function openReplica(directory: string, log: string): Promise<Replica> {
  const options = { cacheBytes: 4 << 20, replica: true }
  const database = await Database.open(nodePlatform, directory, options)
  return {
    database,
    async follow() {
      const mark = await readDurableMark(nodePlatform.disk, log)
      if (mark === null || mark.txn === database.appliedTxn) return
      await replayLog(nodePlatform.disk, log, database, mark)
      await database.checkpoint({ txn: mark.txn, chain: mark.chain }, Promise.resolve())
    },
    digest: async () => (await digestDatabase(database)).toString('hex'),
    close: () => database.close(),
  }
}

const digestOf = async (master: Master) => await digestOfMaster(master)

t.test('a local file stays on the master, and its name with it', async t => {
  const { directory, replica } = await makeMaster(t)
  let master = await Master.open(directory)
  const account = await master.createAccount('A')
  const local = await account.createFile('LOCAL', { local: true, modulo: 3 })
  const shared = await account.createFile('SHARED')
  await local.write('x', 'mine')
  await shared.write('x', 'ours')
  await local.clear()
  await local.resize(7)
  await local.write('y', 'mine')
  let slave = await replica()
  await slave.follow()
  t.equal(slave.database.file('A', 'LOCAL'), undefined)
  t.match(slave.database.operations.totals(), { transactions: 8, leftOut: 4, itemBytes: 5 })
  t.strictSame(
    slave.database.files('A').map(file => file.name),
    ['SHARED'],
  )
  t.equal(await slave.digest(), await digestOf(master))
  await slave.close()

  await master.close()
  master = await Master.open(directory)
  const again = master.account('A').file('LOCAL')
  t.equal(String(await again.read('y')), 'mine', 'the master recovers it')
  await again.setLocal(false)
  await master.filled()
  slave = await replica()
  await slave.follow()
  t.equal(String(slave.database.file('A', 'LOCAL')?.read('y')), 'mine')
  t.equal(slave.database.file('A', 'LOCAL')?.modulo, 7)
  t.equal(await slave.digest(), await digestOf(master))

  await again.setLocal(true)
  await slave.follow()
  t.equal(slave.database.file('A', 'LOCAL'), undefined, 'it is removed')
  await master.deleteAccount('A')
  await slave.follow()
  t.equal(await slave.digest(), await digestOf(master))
  await slave.close()
  await master.close()
})

t.test('patterns of hb.toml, and what hb why says of them', async t => {
  const { directory, replica } = await makeMaster(t)
  let master = await Master.open(directory)
  const account = await master.createAccount('A')
  for (const name of ['TEMP1', 'TEMP12', 'KEPT']) {
    const file = await account.createFile(name)
    for (let i = 0; i < 300; i++) void file.write(`${i}`, `${name} ${i}`)
    await file.write('last', name)
  }
  await master.close()
  const toml = path.join(directory, 'hb.toml')
  const before = readFileSync(toml, 'utf8')
  writeFileSync(toml, before.replace(/^# exclude = .*$/m, 'exclude = ["*/TEMP?"]'))
  const why = async (file: string) =>
    whyLines(await whyReplicated(nodePlatform, directory, 'A', file, withData)).join('; ')
  t.match(
    await why('TEMP1'),
    /^A TEMP1 is replicated; hb.toml did not .*changed since: the exclude pattern \*\/TEMP\? fits;/,
  )
  master = await Master.open(directory)
  await master.filled()
  const slave = await replica()
  await slave.follow()
  const names = () => slave.database.files('A').map(file => file.name)
  t.strictSame(names(), ['KEPT', 'TEMP12'])
  t.equal(await slave.digest(), await digestOf(master))
  t.match(await why('TEMP1'), /^A TEMP1 is not replicated; .*exclude pattern \*\/TEMP\? fits$/)
  t.match(await why('KEPT'), /^A KEPT is replicated; the include pattern \*\/\* /)
  await t.rejects(why('NONE'), { code: 'ERR_NO_FILE' })
  await master.account('A').createFile('TEMP2')
  await slave.follow()
  t.strictSame(names(), ['KEPT', 'TEMP12'])

  await master.close()
  writeFileSync(toml, before)
  t.match(
    await why('TEMP1'),
    /hb.toml left it out .*changed since: the include pattern \*\/\* fits;/,
  )
  master = await Master.open(directory)
  await master.filled()
  await slave.follow()
  t.strictSame(names(), ['KEPT', 'TEMP1', 'TEMP12', 'TEMP2'])
  t.equal(await slave.digest(), await digestOf(master))
  await slave.close()
  await master.close()
  t.strictSame(
    [
      ['A/B', 'A/B', true],
      ['A/B', 'A/BC', false],
      ['*/B?', 'X/BC', true],
      ['A.B/*', 'AxB/C', false],
      ['*/*', 'Ä/Ö', true],
    ].map(([pattern, name]) => {
      const [account, file] = String(name).split('/')
      const patterns = new FilePatterns({ include: [String(pattern)], exclude: [] })
      return !patterns.verdict(account!, file!).excluded
    }),
    [true, false, true, false, true],
  )
})

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('write' as const), id: fc.nat(600) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('delete' as const), id: fc.nat(600) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('local' as const), on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('clear' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('resize' as const),
      modulo: fc.integer({ min: 1, max: 40 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('pause' as const) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('reopen' as const) }) },
)

t.test('a slave that follows any history ends with what the master has', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async steps => {
      const { directory, replica } = await makeMaster(t)
      let master = await Master.open(directory)
      const account = await master.createAccount('A')
      await account.createFile('F', { modulo: 5, local: true })
      let file = account.file('F')
      for (let id = 0; id < 600; id++) void file.write(`${id}`, `${id} `.repeat(id % 90))
      let slave = await replica()
      for (const [index, { type, ...step }] of steps.entries()) {
        if (type === 'write' && 'id' in step) void file.write(`${step.id}`, `new ${index}`)
        else if (type === 'delete' && 'id' in step) void file.delete(`${step.id}`)
        else if (type === 'local' && 'on' in step) void file.setLocal(step.on)
        else if (type === 'clear') void file.clear()
        else if (type === 'resize' && 'modulo' in step) void file.resize(step.modulo)
        else if (type === 'reopen') {
          await slave.follow()
          await slave.close()
          await master.close()
          master = await Master.open(directory)
          file = master.account('A').file('F')
          slave = await replica()
        } else await slave.follow()
      }
      await file.setLocal(false)
      await master.filled()
      await slave.follow()
      const held = slave.database.file('A', 'F')
      const equal = (await slave.digest()) === (await digestOf(master))
      const complete = held !== undefined && held.itemCount === file.itemCount && held.flags === 0
      await slave.close()
      await master.close()
      return equal && complete
    }),
    { numRuns: runs(12) },
  )
})
