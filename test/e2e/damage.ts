// Damage at rest, between real servers: bits that flip in a log are mended with the bytes of the other side, by the
// servers themselves, on either side, stopped or at work; and in the end both logs are the same files.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master, type MasterEvent } from '../../src/index.ts'
import { edit, hb, ok, Pair, statusOf } from '../helpers/servers.ts'

async function makePair(test: Parameters<typeof Pair.make>[0]): Promise<Pair> {
  const pair = await Pair.make(test)
  for (const directory of [pair.master, pair.slave]) {
    edit(directory, /^# segment_size = .*$/m, 'segment_size = "64KiB"')
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
    const messages = readFileSync(path.join(pair.slave, 'messages.log'), 'utf8')
    t.match(messages, /has been mended from byte/)
    await ok('log', 'verify', '-d', pair.slave)
  })

  await t.test('on a slave that is started, where it goes on writing', async t => {
    await ok('stop', '-d', pair.slave)
    const files = segments(pair.slave)
    flip(files.at(-1)!, 120)
    flip(files[1]!)
    await ok('start', '-d', pair.slave)
    t.equal(kept(pair.slave), 4)
    await ok('write', '-d', pair.master, 'A', 'F', 'after', 'mending')
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
    t.match(types, ['log-damaged', 'log-mended'])
    await master.account('A').file('F').write('later', 'mending')
    await master.close()
    t.equal(kept(pair.master), 1)
  })

  await t.test('on a master, when its shipper is started', async t => {
    await ok('start', '-d', pair.master)
    await pair.digests()
    await ok('stop', '-d', pair.master)
    flip(segments(pair.master).at(-1)!, 120)
    await ok('start', '-d', pair.master)
    const { master, slave } = await pair.digests()
    t.equal(slave, master)
    t.ok(sameSegments(pair))
    t.equal(kept(pair.master), 2)
  })
})
