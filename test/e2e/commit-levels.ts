// Updates that are done when the slave has them, with a real slave that goes away and comes back.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { Master, type MasterEvent } from '../../src/index.ts'
import { hb, ok, Pair, startAlone, statusOf } from '../helpers/servers.ts'

t.test('an update is done when the slave has applied it, or when the slave is away', async t => {
  const pair = await Pair.make(t)
  const toml = path.join(pair.master, 'hb.toml')
  const text = await readFile(toml, 'utf8')
  const commit = 'level = "applied"\ntimeout = "500ms"\non_timeout = "continue"\n'
  await writeFile(toml, text.replace('[commit]\n', `[commit]\n${commit}`))
  await pair.start()
  const events: MasterEvent[] = []
  let heard = () => {}
  const master = await Master.open(pair.master, {
    onEvent: event => {
      events.push(event)
      heard()
    },
  })
  t.teardown(() => master.close())
  const happened = async (type: string) => {
    while (!events.some(event => event.type === type)) {
      await new Promise<void>(resolve => (heard = resolve))
    }
  }
  const file = await (await master.createAccount('A')).createFile('F')
  for (let i = 0; i < 20; i++) {
    await file.write(`${i}`, 'x')
    const { apply } = await statusOf(pair.slave)
    if (apply.appliedTxn < master.lastTxn) t.fail(`${apply.appliedTxn} of ${master.lastTxn}`)
    if (i > 2) break
  }
  await ok('stop', '-d', pair.slave)
  await file.write('alone', 'x')
  await happened('alone')
  t.equal(master.status().commit.state, 'alone')
  t.match(await ok('status', '-d', pair.master), /ALONE/)
  await t.rejects(master.wait(master.lastTxn, 'received', { timeoutMs: 300 }), {
    code: 'ERR_TIMEOUT',
  })
  await file.write('local', 'x', { level: 'local' })
  await startAlone(pair.slave)
  await happened('in-step')
  await file.write('together', 'x')
  await master.wait(master.lastTxn, 'durable')
  const dump = await ok('log', 'dump', '-d', pair.master, '--json')
  const marks = dump.split('\n').filter(line => line.includes('"mark"'))
  t.match(marks, [/"mark":"commit alone"/, /"mark":"commit in-step"/])
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours, 'marks change nothing in the database')
})

t.test('what cannot be is refused by line and key', async t => {
  const pair = await Pair.make(t)
  const toml = path.join(pair.master, 'hb.toml')
  const text = await readFile(toml, 'utf8')
  await writeFile(toml, text.replace('[commit]\n', '[commit]\nlevel = "durable"\nslaves = 2\n'))
  const { code, stderr } = await hb('status', '-d', pair.master)
  t.equal(code, 2)
  t.match(stderr, /line \d+: commit\.slaves: expected "1"/)
})
