// A page of a data file that was written holds zeros, or an older version of itself, between real servers: every
// command that reads it says so, on either side, and no repair spreads it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { long } from '../helpers/long-form.ts'
import { hb, ok, Pair, startAlone } from '../helpers/servers.ts'

const items = 200

function dataFile(directory: string): string {
  const database = path.join(directory, 'database')
  const name = readdirSync(database).find(entry => /^[0-9a-f]{8}\./.test(entry))!
  return path.join(database, name)
}

async function write(directory: string, value: string): Promise<void> {
  const master = await Master.open(directory)
  const file = master.accounts().includes('A')
    ? master.account('A').file('F')
    : await (await master.createAccount('A')).createFile('F', { modulo: 7 })
  for (let i = 0; i < items; i++) await file.write(`item ${i}`, value)
  await master.checkpoint()
  await master.close()
}

/** Both databases are in checkpoints, and nobody has them open. */
async function still(pair: Pair): Promise<void> {
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('apply', '-d', pair.slave, 'off')
  for (const directory of [pair.master, pair.slave]) await ok('stop', '-d', directory)
}

t.test('a page is lost', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  await write(pair.master, 'older')
  await still(pair)
  const older = new Map([pair.master, pair.slave].map(it => [it, readFileSync(dataFile(it))]))
  for (const directory of [pair.slave, pair.master]) await startAlone(directory)
  await ok('apply', '-d', pair.slave, 'on')
  await write(pair.master, 'newer')
  await still(pair)
  const whole = await ok('digest', '-d', pair.master)

  for (const directory of [pair.master, pair.slave]) {
    const wrongs = {
      zeros: Buffer.alloc(4096),
      older: older.get(directory)!.subarray(8192, 12_288),
    }
    for (const [name, wrong] of Object.entries(wrongs)) {
      // Each of the sides, and each of the faults, is met in the short form, too.
      if (!long && (directory === pair.master) !== (name === 'zeros')) continue
      await t.test(`${path.basename(directory)}, ${name}`, async t => {
        const file = dataFile(directory)
        const bytes = readFileSync(file)
        t.notOk(bytes.subarray(8192, 12_288).equals(wrong))
        wrong.copy(bytes, 8192)
        writeFileSync(file, bytes)
        let refused = 0
        for (let i = 0; i < 12; i++) {
          const { code, stdout } = await hb('read', '-d', directory, 'A', 'F', `item ${i}`)
          if (code === 5) refused++
          else t.equal(stdout, 'newer')
        }
        t.ok(refused > 0)
        for (const command of [['export'], ['list'], ['digest']]) {
          const { code, stderr } = await hb(...command, '-d', directory, 'A', 'F')
          t.match({ code, stderr }, { code: 5, stderr: /ERR_GROUP_DAMAGED/ }, command.join())
        }
        const scrubbed = await hb('scrub', '-d', directory)
        t.match(scrubbed, { code: 5, stdout: /byte 8192: A F, group 2: frame 2/ })
        // The servers repair it by themselves, or a repair does; neither loses an item.
        for (const one of [pair.slave, pair.master]) await startAlone(one)
        await ok('apply', '-d', pair.slave, 'on')
        await hb('verify', '-d', pair.master, '--repair', '--timeout', '60')
        await ok('scrub', '-d', directory, '--repair')
        await ok('verify', '-d', pair.master, '--timeout', '60')
        t.equal((await ok('export', '-d', pair.slave, 'A', 'F')).trim().split('\n').length, items)
        await still(pair)
        for (const one of [pair.slave, pair.master]) t.equal(await ok('digest', '-d', one), whole)
        t.match(await ok('scrub', '-d', directory), /nothing is damaged/)
      })
    }
  }
})
