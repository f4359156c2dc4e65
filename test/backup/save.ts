// Saves and what is made of them: consistent while updates go on, checked to the byte and to the item, and never taken
// for whole when they are half.
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Database } from '../../src/database/database.ts'
import { FrameChanges, packRanges, unpackRanges } from '../../src/database/frame-changes.ts'
import { groupOf, hashId } from '../../src/database/hash.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { setup } from '../../src/config/setup.ts'
import { restoreServer } from '../../src/backup/restore.ts'
import { saveServer, type SaveProgress } from '../../src/backup/save.ts'
import { Master } from '../../src/server/master.ts'
import { digestOfMaster } from '../helpers/master-digest.ts'
import { temporaryDirectory } from '../helpers/servers.ts'

async function makeServer(directory: string, type: 'master' | 'slave' = 'master'): Promise<void> {
  await setup(nodePlatform, directory, {
    type,
    name: path.basename(directory),
    key: type === 'master' ? null : false,
    listen: null,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
}

async function digestOf(directory: string): Promise<string> {
  const master = await Master.open(directory)
  try {
    return await digestOfMaster(master)
  } finally {
    await master.close()
  }
}

const items = 997
const contentOf = (i: number) => `${i} `.repeat(1 + (i % 50))

/** Transactions that write the same number into two files, time and again, until it is told to stop. */
async function counting(
  master: Master,
  begun: { readonly at: () => void },
  stop: () => boolean,
): Promise<number> {
  const account = master.accounts().includes('A')
    ? master.account('A')
    : await master.createAccount('A')
  const [left, right] = [
    await account.createFile('LEFT', { modulo: 211 }),
    await account.createFile('RIGHT', { modulo: 3 }),
  ]
  for (let i = 0; ; i++) {
    const written = master.transaction(transaction => {
      transaction.write(left, `item ${i % items}`, contentOf(i))
      transaction.write(right, 'count', String(i))
      transaction.write(left, 'count', String(i))
    })
    if (i % 64 === 63) await written
    else written.catch(() => {})
    if (i % 500 === 499) await master.checkpoint()
    // By now the files are in a checkpoint, and the next ones change them in place.
    if (i === 1200) begun.at()
    if (i === 5000) await account.deleteFile('GOES')
    if (stop() && i > 6000) return i
  }
}

t.test('what changes while the last frames are gathered is saved, wherever it lies', async t => {
  const root = temporaryDirectory(t)
  const [directory, saved, again] = ['alpha', 'saved', 'again'].map(name => path.join(root, name))
  await makeServer(directory!)
  const master = await Master.open(directory!)
  const modulo = 50
  const file = await (await master.createAccount('A')).createFile('F', { modulo })
  const inGroup = (group: number) => {
    for (let i = 0; ; i++) {
      const id = Buffer.from(`${i}`)
      if (groupOf(hashId(id, 0, id.length), modulo) === group) return `${i}`
    }
  }
  const [early, late] = [inGroup(2), inGroup(40)]
  for (const id of [early, late]) await file.write(id, 'before')
  await master.checkpoint()
  const { disk } = nodePlatform
  let changes: Promise<void> | null = null
  // The later frame changes on the disk, the earlier one only when the files are to stand still.
  const change = async () => {
    await file.write(late, 'after')
    await master.checkpoint()
    await file.write(early, 'after')
  }
  const watched: typeof disk = {
    ...disk,
    open: async (name, mode) => {
      if (/alpha.database.[0-9a-f]{8}\./.test(name)) await (changes ??= change())
      return disk.open(name, mode)
    },
  }
  await saveServer({ ...nodePlatform, disk: watched }, directory!, saved!, { progress: () => {} })
  await master.close()
  await restoreServer(nodePlatform, saved!, again!)
  t.equal(await digestOf(again!), await digestOf(directory!))
})

t.test('a save of a master at work is one moment of it', async t => {
  const root = temporaryDirectory(t)
  const [directory, saved, again] = ['alpha', 'saved', 'again'].map(name => path.join(root, name))
  await makeServer(directory!)
  const master = await Master.open(directory!)
  const account = await master.createAccount('A')
  const goes = await account.createFile('GOES', { modulo: 17 })
  for (let i = 0; i < 3000; i++) void goes.write(`${i}`, 'x'.repeat(i))
  await master.checkpoint()
  let done = false
  const begun = { at: () => {} }
  const ready = new Promise<void>(resolve => (begun.at = resolve))
  const work = counting(master, begun, () => done)
  await ready
  const steps = new Set<SaveProgress['step']>()
  const manifest = await saveServer(nodePlatform, directory!, saved!, {
    progress: ({ step }) => steps.add(step),
  })
  done = true
  await work
  const digest = await digestOfMaster(master)
  await master.close()
  t.strictSame([...steps], ['copying', 'checking', 'digesting'])
  t.ok(manifest.stampTxn > 0 && manifest.lastTxn >= manifest.stampTxn)
  t.notOk(existsSync(path.join(saved!, 'INCOMPLETE')))

  await restoreServer(nodePlatform, saved!, again!)
  const restored = await Master.open(again!)
  const [left, right] = ['LEFT', 'RIGHT'].map(name => restored.account('A').file(name))
  const last = Number(await left!.read('count'))
  t.equal(Number(await right!.read('count')), last)
  const wrong: string[] = []
  for (let id = 0; id < items; id++) {
    const written = last - ((last - id) % items)
    if (String(await left!.read(`item ${id}`)) !== contentOf(written)) wrong.push(`item ${id}`)
  }
  t.strictSame(wrong, [], 'every item is as it was at that moment')
  t.equal(restored.lastTxn, manifest.lastTxn)
  t.equal(restored.name, 'alpha')
  await restored.close()
  t.not(
    readFileSync(path.join(again!, 'server.id'), 'utf8'),
    readFileSync(path.join(directory!, 'server.id'), 'utf8'),
    'another server',
  )
  t.equal(
    readFileSync(path.join(again!, 'hb.key'), 'utf8'),
    readFileSync(path.join(directory!, 'hb.key'), 'utf8'),
  )

  await t.test('a stopped server is saved as it lies there', async t => {
    const still = path.join(root, 'still')
    const other = path.join(root, 'other')
    const { digests } = await saveServer(nodePlatform, directory!, still)
    t.equal(digests.digest, digest)
    await restoreServer(nodePlatform, still, other)
    t.equal(await digestOf(other), digest)
  })
})

async function smallSave(t: Test): Promise<{ root: string; saved: string }> {
  const root = temporaryDirectory(t)
  const directory = path.join(root, 'alpha')
  await makeServer(directory)
  const master = await Master.open(directory)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 5 })
  for (let i = 0; i < 100; i++) await file.write(`${i}`, `value ${i}`)
  await (await master.account('A').createFile('LOCAL', { local: true })).write('x', 'y')
  await master.close()
  const saved = path.join(root, 'saved')
  await saveServer(nodePlatform, directory, saved)
  return { root, saved }
}

t.test(
  'lost-found is saved with what is replayed meanwhile, and what is lost meanwhile',
  async t => {
    const root = temporaryDirectory(t)
    const [directory, saved] = [path.join(root, 'south'), path.join(root, 'saved')]
    await makeServer(directory)
    await (await Master.open(directory)).close()
    const lost = path.join(directory, 'lost-found')
    mkdirSync(lost, { recursive: true })
    const [replayed, since] = [1, 2].map(txn => `${String(txn).padStart(20, '0')}-0a1b2c3d`)
    writeFileSync(path.join(lost, replayed!), 'here before')
    writeFileSync(path.join(lost, 'notes'), "the operator's")
    let heard = 0
    await saveServer(nodePlatform, directory, saved, {
      progress: () => {
        // The first is that of the entry itself.
        if (heard++ !== 1) return
        rmSync(path.join(lost, replayed!))
        writeFileSync(path.join(lost, since!), 'here since')
      },
    })
    t.strictSame(readdirSync(path.join(saved, 'lost-found')).sort(), [replayed, since])
  },
)

t.test('what is not as it was saved is refused, and nothing is made of it', async t => {
  const { root, saved } = await smallSave(t)
  const target = path.join(root, 'target')
  const spoil = async (name: string, change: (bytes: Buffer) => Buffer | null, code: string) => {
    const file = path.join(saved, name)
    const before = readFileSync(file)
    const after = change(Buffer.from(before))
    if (after === null) rmSync(file)
    else writeFileSync(file, after)
    await t.rejects(restoreServer(nodePlatform, saved, target), { code }, `${name}: ${code}`)
    t.notOk(existsSync(path.join(target, 'hb.toml')), 'no server')
    writeFileSync(file, before)
  }
  const flip = (bytes: Buffer) => {
    const at = Math.floor(bytes.length / 2)
    bytes[at] = bytes[at]! ^ 1
    return bytes
  }
  const manifest = JSON.parse(readFileSync(path.join(saved, 'manifest.json'), 'utf8')) as {
    files: { path: string }[]
  }
  const data = manifest.files.map(file => file.path).filter(name => /^(database|log)/.test(name))
  t.ok(data.length >= 4, data.join(' '))
  for (const name of data) await spoil(name, flip, 'ERR_SAVE_CORRUPT')
  await spoil(data[0]!, () => null, 'ERR_SAVE_CORRUPT')
  await spoil(data[0]!, bytes => bytes.subarray(1), 'ERR_SAVE_CORRUPT')
  await spoil('manifest.json', flip, 'ERR_SAVE_CORRUPT')
  await spoil('manifest.json', () => null, 'ERR_SAVE')
  await spoil('manifest.json', () => Buffer.from('{"format":"other"}'), 'ERR_SAVE')
  const { config } = await restoreServer(nodePlatform, saved, target)
  t.equal(config.name, 'alpha', 'what was left half is begun again')
  t.equal(await digestOf(target), await digestOf(path.join(root, 'alpha')))
})

t.test('a damaged log is not saved as a sound one', async t => {
  const directory = temporaryDirectory(t)
  const alpha = path.join(directory, 'alpha')
  await makeServer(alpha)
  const config = path.join(alpha, 'hb.toml')
  const text = readFileSync(config, 'utf8')
  writeFileSync(config, text.replace(/^# segment_size.*$/m, 'segment_size = "64KiB"'))
  const master = await Master.open(alpha)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 7 })
  for (let i = 0; i < 6; i++) await file.write(`item ${i}`, Buffer.alloc(40_000, i))
  // As a crash leaves it: the whole log is needed.
  const killed = path.join(directory, 'killed')
  cpSync(alpha, killed, { recursive: true, filter: name => path.basename(name) !== 'run' })
  await master.close()
  const log = path.join(killed, 'log')
  const [, second] = readdirSync(log).filter(name => name.endsWith('.log'))
  const segment = path.join(log, second!)
  const sound = readFileSync(segment)
  const damages: readonly (readonly [string, Buffer])[] = [
    ['zeros in place of its first block', Buffer.from(sound).fill(0, 96, 200)],
    ['one byte of an item', Buffer.from(sound).fill(1, 20_000, 20_001)],
    ['its end is missing', sound.subarray(0, 96)],
    ['nothing is left of it', Buffer.alloc(0)],
  ]
  for (const [name, damaged] of damages) {
    writeFileSync(segment, damaged)
    const to = path.join(directory, name.replaceAll(' ', '-'))
    await t.rejects(
      saveServer(nodePlatform, killed, to),
      { code: 'ERR_LOG_CORRUPT', message: new RegExp(`^${log}/`) },
      name,
    )
    t.notOk(existsSync(path.join(to, 'manifest.json')), `${name}: it is no save`)
  }
  writeFileSync(segment, sound)
  await t.resolves(saveServer(nodePlatform, killed, path.join(directory, 'sound')))
})

t.test('nothing that somebody has is written over', async t => {
  const { root, saved } = await smallSave(t)
  const directory = path.join(root, 'alpha')
  await t.rejects(saveServer(nodePlatform, directory, saved), { code: 'ERR_EXISTS' })
  await t.rejects(restoreServer(nodePlatform, saved, directory), { code: 'ERR_EXISTS' })
  const taken = path.join(root, 'taken')
  await nodePlatform.disk.makeDirectory(taken)
  appendFileSync(path.join(taken, 'diary'), 'x')
  await t.rejects(restoreServer(nodePlatform, saved, taken), { code: 'ERR_EXISTS' })
  await t.rejects(saveServer(nodePlatform, directory, taken), { code: 'ERR_EXISTS' })

  await t.test('half a save is begun again', async t => {
    const half = path.join(root, 'half')
    await nodePlatform.disk.makeDirectory(half)
    writeFileSync(path.join(half, 'INCOMPLETE'), '')
    writeFileSync(path.join(half, 'notes'), '')
    mkdirSync(path.join(half, 'log'))
    const rest = path.join(half, 'log', '0000000000000009.log')
    writeFileSync(rest, '')
    await t.rejects(restoreServer(nodePlatform, half, path.join(root, 'x')), { code: 'ERR_SAVE' })
    await saveServer(nodePlatform, directory, half)
    t.notOk(existsSync(rest))
    t.ok(existsSync(path.join(half, 'notes')), "what is not the save's stays")
  })

  await t.test('a server without data keeps what setup gave it', async t => {
    const slave = path.join(root, 'slave')
    await makeServer(slave, 'slave')
    const { config } = await restoreServer(nodePlatform, saved, slave)
    t.equal(config.name, 'slave')
    t.equal(config.type, 'slave')
    t.notOk(existsSync(path.join(slave, 'hb.toml.restoring')))
    const database = await Database.open(nodePlatform, slave, { cacheBytes: 4 << 20 })
    t.strictSame(
      database.files('A').map(file => file.name),
      ['F'],
      'the local file is left out',
    )
    await database.close()
    const savedSlave = path.join(root, 'saved-slave')
    await saveServer(nodePlatform, slave, savedSlave)
    const master = path.join(root, 'master')
    await makeServer(master)
    await t.rejects(restoreServer(nodePlatform, savedSlave, master), { code: 'ERR_WRONG_TYPE' })
    t.ok(existsSync(path.join(master, 'hb.toml')), 'it is as it was')
  })
})

t.test('no save is made in the directory of a server, or in another save', async t => {
  const { root, saved } = await smallSave(t)
  const directory = path.join(root, 'alpha')
  const other = path.join(root, 'other')
  await makeServer(other)
  // The log lies on another disk, and a link leads into the directory.
  const elsewhere = path.join(root, 'elsewhere')
  renameSync(path.join(directory, 'log'), elsewhere)
  symlinkSync(elsewhere, path.join(directory, 'log'))
  symlinkSync(directory, path.join(root, 'link'))
  for (const target of [
    directory,
    path.join(directory, 'log', 'x'),
    path.join(directory, 'log', '..', 'x', 'y'),
    path.join(root, 'link', 'seed', 'x'),
    path.join(elsewhere, 'x'),
    path.join(other, 'database', 'deep', 'x'),
    path.join(saved, 'x'),
    path.join(saved, 'log', 'x'),
  ]) {
    await t.rejects(saveServer(nodePlatform, directory, target), { code: 'ERR_UNSAFE' }, target)
    if (target !== directory) t.notOk(existsSync(target), 'nothing is made')
  }
  await saveServer(nodePlatform, directory, path.join(root, 'beside'))
})

t.test('changed frames are told once, in runs, each as often as it changes', t => {
  const range = fc.record({
    name: fc.constantFrom('00000001.00000001', '00000001.00000002', 'ffffffff.0000000a'),
    first: fc.nat(400),
    count: fc.integer({ min: 1, max: 100 }),
  })
  fc.assert(
    fc.property(fc.array(fc.array(range, { maxLength: 20 }), { maxLength: 4 }), rounds => {
      const changes = new FrameChanges()
      for (const ranges of rounds) {
        const expected = new Set<string>()
        for (const { name, first, count } of ranges) {
          changes.note(name, first, count)
          for (let i = 0; i < count; i++) expected.add(`${name} ${first + i}`)
        }
        const found: string[] = []
        const taken = unpackRanges(packRanges(changes.take()))
        for (const { name, first, count } of taken) {
          for (let i = 0; i < count; i++) found.push(`${name} ${first + i}`)
        }
        if (found.length !== expected.size || found.some(frame => !expected.has(frame))) {
          return false
        }
      }
      return true
    }),
  )
  t.end()
})
