// A slave that stays away while the queue has a limit, with real processes.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { Master, type MasterEvent } from '../../src/index.ts'
import { edit, hb, ok, Pair, startAlone, statusOf } from '../helpers/servers.ts'

async function limit(pair: Pair, onLimit: string): Promise<void> {
  const toml = path.join(pair.master, 'hb.toml')
  edit(pair.master, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
  edit(pair.master, /^# keep_time = .*$/m, 'keep_time = "0"')
  const text = await readFile(toml, 'utf8')
  const queue = `[queue]\nlimit = "1MiB"\non_limit = "${onLimit}"\n`
  const alarm = `[alarm]\ncommand = 'cat >> "$HB_DIR/told"'\n`
  const edited = text.replace('[queue]\n', queue)
  await writeFile(toml, edited.replace('[alarm]\n', alarm))
}

t.test('updates are refused, and taken again when the slave is back', async t => {
  const pair = await Pair.make(t)
  await limit(pair, 'refuse')
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  const lines = Array.from({ length: 3000 }, (_, id) =>
    JSON.stringify({ id, text: 'x'.repeat(600) }),
  )
  const items = path.join(pair.root, 'items.jsonl')
  await writeFile(items, lines.join('\n'))
  // How much of it comes in before the queue is measured again depends on the machine: more than fits, at any rate.
  const args = ['-d', pair.master, 'A', 'F', items, '--format', 'jsonl', '--id', 'id']
  const imported = await hb('import', ...args)
  t.ok(imported.code === 0 || imported.stderr.startsWith('hb: ERR_QUEUE_FULL'), imported.stderr)
  const { code, stderr } = await hb('write', '-d', pair.master, 'A', 'F', 'one', 'more')
  t.equal(code, 4)
  t.match(stderr, /^hb: ERR_QUEUE_FULL: the transaction log queue has/)

  // The operators are told, whatever the program does that writes.
  await startAlone(pair.master)
  const told = () => readFile(path.join(pair.master, 'told'), 'utf8').catch(() => '')
  while ((await told()) === '') await statusOf(pair.master)
  t.match(await told(), / error alpha: the transaction log queue has .*, waiting for beta\n/)
  await startAlone(pair.slave)
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('write', '-d', pair.master, 'A', 'F', 'one', 'more')
  const { master, slave } = await pair.digests()
  t.equal(slave, master)
})

t.test('a slave that is dropped needs a new copy, says so, and gets it', async t => {
  const pair = await Pair.make(t)
  await limit(pair, 'drop')
  const events: MasterEvent[] = []
  const master = await Master.open(pair.master, { onEvent: event => events.push(event) })
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F')
  const value = Buffer.alloc(8192)
  for (let id = 0; !events.some(({ type }) => type === 'slave-dropped'); id++) {
    await file.write(`${id % 100}`, value)
  }
  await master.checkpoint()
  t.match(await ok('status', '-d', pair.master), /beta: dropped from the queue/)
  await pair.start()
  let status = await statusOf(pair.master)
  while (status.slaves[0]?.state !== 'Needs a copy') status = await statusOf(pair.master)
  t.match(status.slaves, [{ name: 'beta', lastError: { code: 'ERR_LINK_SEED' } }])
  await ok('seed', '-d', pair.master, '--slave', 'beta')
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
  t.notMatch(await ok('status', '-d', pair.master), /dropped/, 'it counts again')
})
