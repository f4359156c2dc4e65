// Cascades of real servers: what the master writes goes from slave to slave in the same bytes; a loop is refused; a
// slave moves to another master without a new copy; and who hands nothing on keeps nothing.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Master } from '../../src/index.ts'
import {
  freePort,
  hb,
  ok,
  startAlone,
  statusOf,
  temporaryDirectory,
  until,
} from '../helpers/servers.ts'

interface Server {
  readonly name: string
  readonly directory: string
  readonly address: string
}

/** The first one is the master; each hands on to the next. None is started. */
async function makeChain(t: Test, ...names: readonly string[]): Promise<Server[]> {
  const root = temporaryDirectory(t)
  const servers: Server[] = []
  for (const name of names) {
    const address = `127.0.0.1:${await freePort()}`
    servers.push({ name, directory: path.join(root, name), address })
  }
  for (const [index, { name, directory, address }] of servers.entries()) {
    const next = servers[index + 1]
    const type =
      index === 0
        ? ['--type', 'master', '--no-key']
        : ['--type', 'slave', '--listen', address, '--no-key']
    const slave = next === undefined ? [] : ['--slave', `${next.name}=${next.address}`]
    await ok('setup', '-d', directory, '--name', name, ...type, ...slave)
    edit(directory, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
    edit(directory, /^# keep_time = .*$/m, 'keep_time = "0"')
  }
  t.teardown(() => Promise.all(servers.map(({ directory }) => hb('stop', '-d', directory))))
  return servers
}

function edit(directory: string, pattern: RegExp, text: string): void {
  const toml = path.join(directory, 'hb.toml')
  const before = readFileSync(toml, 'utf8')
  writeFileSync(toml, before.replace(pattern, text))
}

const start = (servers: readonly Server[]) =>
  Promise.all(servers.map(({ directory }) => startAlone(directory)))

async function digests(servers: readonly Server[], txn: number): Promise<string[]> {
  for (const { directory } of servers.slice(1)) {
    await ok('wait', '-d', directory, '--txn', String(txn), '--timeout', '60')
  }
  return Promise.all(servers.map(({ directory }) => ok('digest', '-d', directory)))
}

const segmentsOf = ({ directory }: Server) =>
  readdirSync(path.join(directory, 'log')).filter(name => /^\d+\.log$/.test(name))

t.test('four servers in a row, a loop, and a slave that moves', async t => {
  const servers = await makeChain(t, 'a', 'b', 'c', 'd')
  const [a, b, c, d] = servers as [Server, Server, Server, Server]
  await start(servers)
  const master = await Master.open(a.directory)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 31 })
  const write = async (text: string) => {
    for (let i = 0; i < 4000; i++) {
      const written = file.write(`item ${i}`, `${text} ${i} `.repeat(8))
      if (i % 500 === 0) await written
    }
    await file.write('last', text)
  }
  await write('first')
  const first = await digests(servers, master.lastTxn)
  t.strictSame(new Set(first).size, 1, 'all hold the same')
  const shared = segmentsOf(d)
    .filter(name => segmentsOf(b).includes(name))
    .slice(0, -1)
  t.ok(shared.length > 0)
  for (const name of shared) {
    const [ours, theirs] = [b, d].map(server =>
      readFileSync(path.join(server.directory, 'log', name)),
    )
    t.ok(ours!.equals(theirs!), `${name} is the same file`)
  }

  // What is damaged on the last one is asked for all the way up, and comes all the way down.
  await ok('apply', '-d', d.directory, 'off')
  await ok('stop', '-d', d.directory)
  const folder = path.join(d.directory, 'database')
  const data = path.join(
    folder,
    readdirSync(folder).find(name => name.endsWith('.00000001'))!,
  )
  const bytes = readFileSync(data)
  for (const group of [3, 9])
    bytes.writeUInt8(bytes.readUInt8(group * 4096 + 99) ^ 1, group * 4096 + 99)
  writeFileSync(data, bytes)
  await startAlone(d.directory)
  await ok('apply', '-d', d.directory, 'on')
  t.equal((await hb('digest', '-d', d.directory)).code, 5, 'a group is damaged')
  const readable = async () => (await hb('digest', '-d', d.directory)).code === 0
  await until('it is repaired', readable)
  t.strictSame(new Set(await digests(servers, master.lastTxn)).size, 1, 'it is repaired')

  await t.test('a loop is refused, and the others go on', async t => {
    await ok('stop', '-d', d.directory)
    const back = `[[slaves]]\nname = "b"\naddress = "${b.address}"\n`
    edit(d.directory, /^log_slave_updates = false$/m, 'log_slave_updates = true')
    writeFileSync(
      path.join(d.directory, 'hb.toml'),
      `${readFileSync(path.join(d.directory, 'hb.toml'), 'utf8')}\n${back}`,
    )
    await startAlone(d.directory)
    const refused = async () => {
      const status = JSON.parse(await ok('status', '-d', d.directory, '--json')) as {
        slaves: { name: string; lastError: { code: string; message: string } | null }[]
      }
      return status.slaves.find(({ name }) => name === 'b')?.lastError?.code
    }
    await until('it is refused', async () => (await refused()) === 'ERR_LINK_LOOP')
    // Also when nobody feeds b, and d has not heard of the servers above it since its start.
    for (const server of [a, c, d]) await ok('stop', '-d', server.directory)
    await startAlone(d.directory)
    await until('it is refused', async () => (await refused()) === 'ERR_LINK_LOOP')
    t.pass('b would be fed by itself')
    await start([a, c])
    await write('second')
    t.strictSame(new Set(await digests(servers, master.lastTxn)).size, 1)
    await ok('stop', '-d', d.directory)
    edit(d.directory, new RegExp(`\\n\\[\\[slaves\\]\\]\\nname = "b"[^]*$`), '\n')
    await startAlone(d.directory)
  })

  await t.test('c moves from b to a, with d behind it, and needs no new copy', async t => {
    await Promise.all([ok('stop', '-d', a.directory), ok('stop', '-d', b.directory)])
    const table = `[[slaves]]\nname = "c"\naddress = "${c.address}"\n`
    edit(b.directory, /\[\[slaves\]\]\nname = "c"\naddress = .*\n/, '')
    const toml = path.join(a.directory, 'hb.toml')
    writeFileSync(toml, `${readFileSync(toml, 'utf8')}\n${table}`)
    await write('third')
    await start([a, b])
    await write('fourth')
    t.strictSame(new Set(await digests(servers, master.lastTxn)).size, 1)
    const rows = (await statusOf(a.directory)).slaves.map(({ name }) => name)
    t.strictSame(rows, ['b', 'c'])
  })
  await master.close()
})

t.test('a slave that hands nothing on keeps no more than its replay needs', async t => {
  const servers = await makeChain(t, 'a', 'b', 'c')
  const [a, b, c] = servers as [Server, Server, Server]
  await start([a, b])
  const master = await Master.open(a.directory)
  const file = await (await master.createAccount('A')).createFile('F')
  const write = async () => {
    for (let i = 0; i < 4000; i++) {
      const written = file.write(`item ${i}`, 'x'.repeat(100))
      if (i % 500 === 0) await written
    }
    await file.write('last', 'one')
    await ok('wait', '-d', b.directory, '--txn', String(master.lastTxn), '--timeout', '60')
  }
  await write()
  // Off ends with a checkpoint, after which segments go.
  await ok('apply', '-d', b.directory, 'off')
  t.ok(segmentsOf(b).length >= 3, `c has not got them: ${segmentsOf(b).length} segments`)
  await ok('stop', '-d', b.directory)
  edit(b.directory, /^log_slave_updates = true$/m, 'log_slave_updates = false')
  await Promise.all([startAlone(b.directory), ok('apply', '-d', c.directory, 'off')])
  await ok('apply', '-d', b.directory, 'on')
  await write()
  await ok('apply', '-d', b.directory, 'off')
  await until('old segments are gone', async () => segmentsOf(b).length === 1)
  t.equal(segmentsOf(b).length, 1, 'the one that is being written')
  await ok('apply', '-d', b.directory, 'on')
  await write()
  const [ours, theirs] = await digests([a, b], master.lastTxn)
  t.equal(theirs, ours)

  // What c has missed it gets from b, which is a slave itself, as a copy.
  await ok('stop', '-d', b.directory)
  edit(b.directory, /^log_slave_updates = false$/m, 'log_slave_updates = true')
  await startAlone(b.directory)
  await startAlone(c.directory)
  await ok('seed', '-d', b.directory, '--slave', 'c')
  await ok('apply', '-d', c.directory, 'on')
  await write()
  t.strictSame(new Set(await digests(servers, master.lastTxn)).size, 1, 'c holds the same')
  await master.close()
})
