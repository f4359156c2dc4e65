// Damage at rest, between real servers: bits that flip in a log are repaired with the bytes of the other side, by the
// servers themselves, on either side, stopped or at work, and in the end both logs are the same files; what flips in a
// database is repaired group by group, through the log, while everything else goes on.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { groupOf, hashId } from '../../src/database/hash.ts'
import { Master, type MasterEvent } from '../../src/index.ts'
import { edit, hb, ok, Pair, startAlone, statusOf, temporaryDirectory } from '../helpers/servers.ts'

async function makePair(test: Parameters<typeof Pair.make>[0]): Promise<Pair> {
  const pair = await Pair.make(test)
  for (const directory of [pair.master, pair.slave]) {
    edit(directory, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
    edit(directory, /^# keep_size = .*$/m, 'keep_size = "1GiB"')
  }
  await pair.start()
  return pair
}

/** About ten segments. */
async function fill(directory: string): Promise<void> {
  const master = await Master.open(directory)
  const account = await master.createAccount('A')
  const file = await account.createFile('F', { modulo: 101 })
  for (let i = 0; i < 5000; i++) {
    const written = file.write(`item ${i}`, `value ${i} `.repeat(8))
    if (i % 100 === 0) await written
  }
  await master.close()
}

function segments(directory: string): string[] {
  const log = path.join(directory, 'log')
  const names = readdirSync(log).filter(name => /^\d+\.log$/.test(name))
  return names.sort().map(name => path.join(log, name))
}

function flip(file: string, at = Math.floor(statSync(file).size / 2)): void {
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x20, at)
  writeFileSync(file, bytes)
}

/** Sealed segments are the same files on both sides. */
function sameSegments(pair: Pair): boolean {
  const [ours, theirs] = [segments(pair.master), segments(pair.slave)]
  return (
    ours.length === theirs.length &&
    ours
      .slice(0, -1)
      .every((file, index) => readFileSync(file).equals(readFileSync(theirs[index]!)))
  )
}

const messagesOf = (directory: string) => readFileSync(path.join(directory, 'messages.log'), 'utf8')

const kept = (directory: string) =>
  readdirSync(path.join(directory, 'log')).filter(name => name.includes('.corrupt')).length

t.test('bits flip', async t => {
  const pair = await makePair(t)

  await t.test('on a slave at work, which meets it when it applies a backlog', async t => {
    await ok('apply', '-d', pair.slave, 'off')
    await fill(pair.master)
    await ok('wait', '-d', pair.master, '--level', 'durable', '--timeout', '60')
    const { pid } = await statusOf(pair.slave)
    const files = segments(pair.slave)
    t.ok(files.length > 5)
    flip(files[2]!)
    flip(files[4]!, 40)
    t.equal((await hb('log', 'verify', '-d', pair.slave)).code, 5)
    await ok('apply', '-d', pair.slave, 'on')
    const { master, slave } = await pair.digests()
    t.equal(slave, master)
    t.equal((await statusOf(pair.slave)).pid, pid, 'the same process')
    t.ok(sameSegments(pair))
    t.equal(kept(pair.slave), 2, 'the damaged ones are kept')
    const messages = messagesOf(pair.slave)
    t.match(messages, /has been repaired from byte/)
    await ok('log', 'verify', '-d', pair.slave)
  })

  await t.test('on a slave that is started, where it goes on writing', async t => {
    await ok('stop', '-d', pair.slave)
    const files = segments(pair.slave)
    flip(files.at(-1)!, 120)
    flip(files[1]!)
    await startAlone(pair.slave)
    t.equal(kept(pair.slave), 4)
    await ok('write', '-d', pair.master, 'A', 'F', 'after', 'repair')
    const { master, slave } = await pair.digests()
    t.equal(slave, master)
    t.ok(sameSegments(pair))
  })

  await t.test('on a master, when an application opens it', async t => {
    await ok('stop', '-d', pair.master)
    flip(segments(pair.master).at(-1)!, 120)
    const events: MasterEvent[] = []
    const master = await Master.open(pair.master, { onEvent: event => events.push(event) })
    const types = events.map(event => event.type)
    t.match(types, ['log-damaged', 'log-repaired'])
    await master.account('A').file('F').write('later', 'repair')
    await master.close()
    t.equal(kept(pair.master), 1)
  })

  await t.test('on a master, when its shipper is started', async t => {
    await startAlone(pair.master)
    await pair.digests()
    await ok('stop', '-d', pair.master)
    flip(segments(pair.master).at(-1)!, 120)
    await startAlone(pair.master)
    const { master, slave } = await pair.digests()
    t.equal(slave, master)
    t.ok(sameSegments(pair))
    t.equal(kept(pair.master), 2)
  })

  await t.test('in what nobody reads: hb scrub finds it all, and repairs the log', async t => {
    for (const directory of [pair.master, pair.slave]) {
      t.match(await ok('scrub', '-d', directory), /nothing is damaged/)
      const [, second, third] = segments(directory)
      flip(second!)
      flip(third!, 10)
      const found = await hb('scrub', '-d', directory)
      t.equal(found.code, 5)
      t.match(found.stdout, new RegExp(`${path.basename(second!)}, byte \\d+, transaction`))
      t.match(found.stdout, new RegExp(`${path.basename(third!)}, byte 0, transaction`))
      t.match(found.stdout, /2 damaged places/)
      t.match(await ok('scrub', '-d', directory, '--repair'), /repaired: .*\nrepaired: /)
      t.ok(sameSegments(pair))
    }
    await ok('stop', '-d', pair.slave)
    const missing = segments(pair.slave)[4]!
    rmSync(missing)
    const json = await ok('scrub', '-d', pair.slave, '--repair', '--json')
    t.match(JSON.parse(json), { damages: [], repaired: [{ path: missing, kept: null }] })
    t.ok(sameSegments(pair))
  })

  await t.test('in a data file: account, file and group are named', async t => {
    await startAlone(pair.slave)
    await pair.digests()
    await ok('apply', '-d', pair.slave, 'off')
    // A group, an overflow frame of another one, and one that memory has, too.
    flipGroups(pair.slave, [7, 110])
    const found = await hb('scrub', '-d', pair.slave)
    t.equal(found.code, 5)
    t.match(found.stdout, /database: .*, byte 28672: A F, group 7: frame 7 has a wrong CRC/)
    t.match(found.stdout, /a frame of overflow or of a big value: frame 110 has a wrong CRC/)
    t.match(found.stderr, /ERR_DAMAGED/)
    await ok('apply', '-d', pair.slave, 'on')
    t.match(
      await ok('scrub', '-d', pair.slave, '--repair'),
      /repaired: .*frame 7 .*\nrepaired: .*110/,
    )
    const digests = await pair.digests()
    t.equal(digests.slave, digests.master)
    await ok('stop', '-d', pair.slave)
    flipGroups(pair.slave, [8])
    await startAlone(pair.slave)
    t.match(await ok('scrub', '-d', pair.slave, '--repair'), /group 8: frame 8/)
    t.match(await ok('status', '-d', pair.slave), /group 8 of 101 can be read again/)
    const master = await Master.open(pair.master)
    await master.checkpoint()
    await master.close()
    flipGroups(pair.master, [9, 111])
    t.match(await ok('scrub', '-d', pair.master, '--repair'), /group 9: frame 9.*\nrepaired: .*111/)
    const after = await pair.digests()
    t.equal(after.slave, after.master)
  })
})

function dataFiles(directory: string): string[] {
  const database = path.join(directory, 'database')
  const names = readdirSync(database).filter(name => /^[0-9a-f]{8}\./.test(name))
  return names.map(name => path.join(database, name))
}

/** Of the file that is the database's only large one. */
function dataFile(directory: string): string {
  return dataFiles(directory).sort((a, b) => statSync(b).size - statSync(a).size)[0]!
}

function flipGroups(directory: string, groups: readonly number[]): void {
  for (const group of groups) flip(dataFile(directory), group * 4096 + 100)
}

/** An item of each of these groups, of a file with this modulo. */
function itemsIn(groups: readonly number[], modulo: number): string[] {
  return groups.map(group => {
    for (let i = 0; ; i++) {
      const id = Buffer.from(`item ${i}`)
      if (groupOf(hashId(id, 0, id.length), modulo) === group) return id.toString()
    }
  })
}

/** Resolves when both sides have the same digest: a slave that meets damage has it repaired first. */
async function inStep(pair: Pair): Promise<void> {
  for (;;) {
    await ok('wait', '-d', pair.master, '--timeout', '60')
    const { code, stdout, stderr } = await hb('digest', '-d', pair.slave)
    if (code === 0 && stdout === (await ok('digest', '-d', pair.master))) return
    if (code !== 0 && !/ERR_GROUP_DAMAGED/.test(stderr)) throw new Error(stderr)
  }
}

t.test('groups of a database are damaged', async t => {
  const pair = await makePair(t)
  await fill(pair.master)
  await pair.digests()
  const groups = [3, 50, 77]
  const [one, two, three] = itemsIn(groups, 101)
  const [well] = itemsIn([10], 101)

  await t.test('on a slave, without its master: that group alone is refused, for good', async t => {
    await ok('stop', '-d', pair.master)
    await ok('apply', '-d', pair.slave, 'off') // A checkpoint.
    await ok('stop', '-d', pair.slave)
    const whole = readFileSync(dataFile(pair.slave))
    flipGroups(pair.slave, groups)
    await startAlone(pair.slave)
    const refused = await hb('read', '-d', pair.slave, 'A', 'F', one!)
    t.equal(refused.code, 5)
    t.match(refused.stderr, /ERR_GROUP_DAMAGED.*A F: group 3 of 101 cannot be read.*wrong CRC/s)
    t.match(refused.stderr, /it comes from the master, when that is connected/)
    t.match(await ok('read', '-d', pair.slave, 'A', 'F', well!), /value/)
    t.match(await ok('status', '-d', pair.slave), /DAMAGED: A F: group 3 of 101/)
    // A disk that reads it after all: updates may be missing.
    await ok('apply', '-d', pair.slave, 'on')
    await ok('apply', '-d', pair.slave, 'off')
    await ok('stop', '-d', pair.slave)
    writeFileSync(dataFile(pair.slave), whole)
    await startAlone(pair.slave)
    t.equal((await hb('read', '-d', pair.slave, 'A', 'F', one!)).code, 5)
    await ok('apply', '-d', pair.slave, 'on')
    flipGroups(pair.slave, groups.slice(1))
    await startAlone(pair.master)
    t.match(await ok('read', '-d', pair.master, 'A', 'F', one!), /value/)
    await t.resolves(inStep(pair))
    t.strictSame((await statusOf(pair.slave)).damaged, [])
  })

  await t.test('on a slave, while updates stream: nothing stops', async t => {
    await ok('apply', '-d', pair.slave, 'off')
    await ok('stop', '-d', pair.slave)
    flipGroups(pair.slave, groups)
    await startAlone(pair.slave)
    const { pid } = await statusOf(pair.slave)
    await ok('apply', '-d', pair.slave, 'on')
    const master = await Master.open(pair.master)
    const file = master.account('A').file('F')
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 500; i++) void file.write(`item ${i}`, `round ${round} `.repeat(9))
      await file.delete(`item ${1000 + round}`)
    }
    await master.close()
    await t.resolves(inStep(pair))
    t.equal((await statusOf(pair.slave)).pid, pid, 'the same process')
    const messages = messagesOf(pair.slave)
    for (const group of groups) {
      t.match(messages, new RegExp(`A F: group ${group} of 101 can be read again`))
    }
    t.notMatch(messages, /are those of the copy|not applied any more/)
    t.match(await ok('log', 'dump', '-d', pair.slave), /clear-group +A F +hashes \d+ to \d+/)
    await ok('apply', '-d', pair.slave, 'off')
    t.match(await ok('scrub', '-d', pair.slave), /nothing is damaged/)
    await ok('apply', '-d', pair.slave, 'on')
  })

  await t.test('on a master, while an application writes', async t => {
    // What lies behind a checkpoint would repair it: the log has all three groups.
    const before = await Master.open(pair.master)
    await before.checkpoint()
    await before.close()
    await ok('stop', '-d', pair.slave)
    flipGroups(pair.master, groups)
    const events: MasterEvent[] = []
    const master = await Master.open(pair.master, { onEvent: event => events.push(event) })
    const file = master.account('A').file('F')
    // Without a slave these groups are refused, and nothing else.
    await t.rejects(file.read(one!), {
      code: 'ERR_GROUP_DAMAGED',
      message: /A F: group 3 of 101 cannot be read: .*wrong CRC/,
    })
    await t.rejects(file.write(one!, 'x'), { code: 'ERR_GROUP_DAMAGED' })
    const both = master.transaction(transaction => {
      transaction.write(file, well!, 'not this either')
      transaction.write(file, one!, 'x')
    })
    await t.rejects(both, { code: 'ERR_GROUP_DAMAGED' })
    t.match(await file.read(well!), /round|value/)
    await file.write(two!, 'met by a write: it is in the log')
    await file.write(well!, 'goes on')
    while (!events.some(({ message }) => /as soon as that can be/.test(message))) {
      await file.read(three!).catch(error => events.push(error as MasterEvent))
      await new Promise(resolve => setImmediate(resolve))
    }
    // The slave comes: each group is fetched, while updates go on.
    await startAlone(pair.slave)
    while (master.status().damaged.length > 0) await file.write(well!, 'goes on')
    t.match(await file.read(one!), /round|value/)
    t.equal((await file.read(two!))?.toString(), 'met by a write: it is in the log')
    t.equal((await file.read(well!))?.toString(), 'goes on')
    const told = events.filter(({ type }) => type === 'group-damaged' || type === 'group-repaired')
    t.ok(told.length >= 4, `${told.length} events`)
    await master.checkpoint()
    await master.close()
    await t.resolves(inStep(pair))
    t.match(await ok('scrub', '-d', pair.master), /nothing is damaged/)
  })

  await t.test('on a master, in a file that is not replicated', async t => {
    const before = await Master.open(pair.master)
    const local = await before.account('A').createFile('L', { modulo: 1, local: true })
    await local.write('item', 'value')
    await before.checkpoint()
    await before.close()
    flip(dataFiles(pair.master).sort().at(-1)!, 100)
    const events: MasterEvent[] = []
    const master = await Master.open(pair.master, { onEvent: event => events.push(event) })
    const file = master.account('A').file('L')
    await t.rejects(file.read('item'), {
      code: 'ERR_GROUP_DAMAGED',
      message: /A L: group 0 of 1 .*no other server holds .*: clear it, or restore a save/,
    })
    while (events.length === 0) await new Promise(resolve => setImmediate(resolve))
    await master.account('A').file('F').write(well!, 'goes on')
    await file.clear()
    await file.write('item', 'new')
    t.equal((await file.read('item'))?.toString(), 'new')
    t.strictSame(master.status().damaged, [])
    await master.close()
    t.strictSame(
      events.map(({ type }) => type),
      ['group-damaged'],
    )
    t.notMatch(messagesOf(pair.slave), /has no file with the number/)
  })
})

t.test(
  'a slave that cannot open what it has: it says so, stops when told, and takes a copy',
  async t => {
    const pair = await makePair(t)
    const { master, slave } = pair
    await ok('create-account', '-d', master, 'A')
    await ok('create-file', '-d', master, 'A', 'F')
    await ok('write', '-d', master, 'A', 'F', 'x', 'y')
    await pair.digests()
    for (const directory of [master, slave]) await ok('stop', '-d', directory)

    const [first] = segments(slave)
    flip(first!, 10)
    const status = await hb('status', '-d', slave)
    t.match(status, {
      code: 0,
      stdout: /Stopped: run "hb start"; .*header.*\nLog +transactions 1 to 3/,
    })
    // Nobody calls who could repair it.
    const module = new URL('../../src/cli/hb-slave.js', import.meta.url).pathname
    const server = spawn(process.execPath, [module, '-d', slave], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    for await (const text of server.stderr) if (/is waited for/.test(String(text))) break
    const ended = once(server, 'exit')
    server.kill('SIGTERM')
    t.strictSame(await ended, [0, null], 'the end is not waited for')
    flip(first!, 10)

    const catalog = path.join(slave, 'database', 'catalog')
    flip(catalog)
    t.match(await hb('start', '-d', slave), { code: 5, stderr: /ERR_DATABASE_CORRUPT/ })
    edit(slave, /^# auto_seed = false$/m, 'auto_seed = true')
    const damaged = readFileSync(catalog)
    for (let times = 0; times < 2; times++) {
      await startAlone(slave)
      t.match(await statusOf(slave), {
        running: true,
        failure: /catalog/,
        apply: { appliedTxn: 0 },
      })
      for (const what of ['read A F x', 'digest', `save --to ${path.join(pair.root, 'save')}`]) {
        const [command = '', ...args] = what.split(' ')
        const refused = await hb(command, '-d', slave, ...args)
        t.match(refused, { code: 5, stderr: /ERR_DATABASE_CORRUPT/ }, command)
      }
      t.match(await hb('promote', '-d', slave), { code: 4, stderr: /ERR_UNSAFE/ })
      await ok('stop', '-d', slave)
      t.ok(readFileSync(catalog).equals(damaged), 'it is left as it is')
    }
    await startAlone(slave)
    await startAlone(master)
    await ok('write', '-d', master, 'A', 'F', 'x', 'z')
    const digests = await pair.digests()
    t.equal(digests.slave, digests.master)
    t.match(await statusOf(slave), { failure: null })
  },
)

t.test('a server at work is read without false alarms', async t => {
  const directory = path.join(temporaryDirectory(t), 'alpha')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha')
  edit(directory, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
  const master = await Master.open(directory, { helpers: false })
  const account = await master.createAccount('A')
  const files = [await account.createFile('F'), await account.createFile('G')]
  let done = false
  const writing = (async () => {
    for (let round = 0; !done; round++) {
      for (let i = 0; i < 300; i++) void files[i % 2]!.write(`${i}`, `${round} `.repeat(200))
      if (round % 3 === 0) void files[1]!.clear()
      await master.checkpoint()
    }
  })()
  for (let round = 0; round < 3; round++) {
    const { code, stdout } = await hb('scrub', '-d', directory)
    t.equal(code, 0, stdout)
  }
  done = true
  await writing
  await master.close()
})
