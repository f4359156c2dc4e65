// What strangers, vandals and typing errors do to real servers: a clear line, nothing lost, server still up.
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { hb, impatient, ok, Pair, statusOf, temporaryDirectory, until } from '../helpers/servers.ts'

t.test('strangers at the port of a slave', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  await ok('create-account', '-d', pair.master, 'A')
  await ok('wait', '-d', pair.master, '--timeout', '60')
  const { pid } = await statusOf(pair.slave)
  const random = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251))
  const greetings = ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', '', 'HB', random, Buffer.alloc(70_000)]
  for (const greeting of greetings)
    t.equal(await answerTo(pair.port, greeting), '', 'it gets nothing')
  await ok('create-account', '-d', pair.master, 'B')
  const { master, slave } = await pair.digests()
  t.equal(slave, master)
  t.equal((await statusOf(pair.slave)).pid, pid, 'the same process serves on')
})

t.test('another database is refused, and both sides say so', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  await ok('create-account', '-d', pair.master, 'OURS')
  const { slave: before } = await pair.digests()
  await ok('stop', '-d', pair.master)
  const other = path.join(pair.root, 'other')
  const key = path.join(pair.master, 'hb.key')
  const address = `beta=127.0.0.1:${pair.port}`
  await ok(
    'setup',
    '-d',
    other,
    '--type',
    'master',
    '--name',
    'other',
    '--slave',
    address,
    '--key',
    key,
  )
  t.teardown(() => hb('stop', '-d', other))
  await ok('create-account', '-d', other, 'THEIRS')
  await ok('start', '-d', other)
  const refusal = /"other" holds transaction 1 .* of database .*, this slave holds transaction 1/
  await until('it says so', async () =>
    refusal.test(unquoted(JSON.stringify(await statusOf(other)))),
  )
  const messages = unquoted(readFileSync(path.join(pair.slave, 'messages.log'), 'utf8'))
  t.match(messages, refusal, 'the slave has it in its messages')
  t.equal(await ok('digest', '-d', pair.slave), before, 'nothing of it was applied')
})

t.test('damage to files that lie still', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  for (let i = 0; i < 5; i++)
    await ok('write', '-d', pair.master, 'A', 'F', `item ${i}`, 'value '.repeat(20))
  await pair.digests()
  await ok('stop', '-d', pair.slave)
  await ok('stop', '-d', pair.master)
  impatient(pair.slave)
  const log = path.join(pair.slave, 'log')
  const name = readdirSync(log).find(file => /^\d+\.log$/.test(file)) ?? ''
  const segment = path.join(log, name)
  const intact = readFileSync(segment)

  const flipped = Buffer.from(intact)
  flipped.writeUInt8(flipped.readUInt8(300) ^ 4, 300)
  writeFileSync(segment, flipped)
  const verify = await hb('log', 'verify', '-d', pair.slave)
  t.equal(verify.code, 5)
  t.match(verify.stderr, new RegExp(`${name}.*(byte|offset)`), 'it says where')
  const start = await hb('start', '-d', pair.slave)
  t.equal(start.code, 5, 'the server refuses: there is nobody to ask')
  t.match(start.stderr, /ERR_LOG_CORRUPT.*could not be repaired: no master .* has called/)
  t.ok(readFileSync(segment).equals(flipped), 'and does not touch it')

  const newer = Buffer.from(intact)
  newer.writeUInt16LE(2, 8)
  writeFileSync(segment, newer)
  const version = await hb('log', 'verify', '-d', pair.slave)
  t.not(version.code, 0)
  t.match(version.stderr, /ERR_LOG_VERSION.*version 2/)

  writeFileSync(segment, intact)
  await pair.start()
  await ok('write', '-d', pair.master, 'A', 'F', 'after', 'repair')
  const { master, slave } = await pair.digests()
  t.equal(slave, master, 'put back, it goes on')
})

t.test('a damaged database is refused, not served', async t => {
  const directory = path.join(temporaryDirectory(t), 'alpha')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha')
  await ok('create-account', '-d', directory, 'A')
  await ok('create-file', '-d', directory, 'A', 'F', '--modulo', '3')
  await ok('write', '-d', directory, 'A', 'F', 'id', 'value')
  const files = path.join(directory, 'database')
  for (const name of readdirSync(files)) {
    const broken = `${directory} with broken ${name}`
    cpSync(directory, broken, { recursive: true })
    const file = path.join(broken, 'database', name)
    const bytes = readFileSync(file)
    const at = bytes.findIndex((byte, i) => i > 40 && byte !== 0)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(file, bytes)
    const read = await hb('read', '-d', broken, 'A', 'F', 'id')
    if (name === 'journal') {
      // It is in place, and without it all frames prove that the database is whole.
      t.match(read, { code: 0, stdout: 'value' }, name)
      continue
    }
    t.equal(read.code, 5, name)
    // In a file it is one group, and the rest can be read.
    const code = /^[0-9a-f]{8}\./.test(name) ? 'ERR_GROUP_DAMAGED' : 'ERR_DATABASE_CORRUPT'
    t.match(read.stderr, new RegExp(`^hb: ${code}: [^\n]+\n$`))
  }
})

t.test('mistakes in the configuration and on the command line', async t => {
  const directory = path.join(temporaryDirectory(t), 'alpha')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha')
  const toml = path.join(directory, 'hb.toml')
  const intact = readFileSync(toml, 'utf8')
  for (const [line, complaint] of [
    ['nonsense = 1', /line \d+.*nonsense/],
    ['[log]\nsegment_size = "7"', /line \d+.*log\.segment_size/],
    ['[[slaves]]\nname = "a b"\naddress = "h:2000"', /line \d+.*slaves\.name/],
    ['= =', /line \d+/],
  ] as const) {
    writeFileSync(toml, `name = "alpha"\n${line}\n`)
    const { code, stderr } = await hb('list', '-d', directory)
    t.equal(code, 2)
    t.match(stderr, /^hb: ERR_CONFIG: [^\n]+\n$/)
    t.match(stderr, complaint)
  }
  writeFileSync(toml, intact)
  t.equal((await hb('list', '-d', path.join(directory, 'nowhere'))).code, 4)
  t.equal((await hb('frobnicate', '-d', directory)).code, 2)
  t.equal((await hb('create-account', '-d', directory, '../x')).code, 2)
  t.equal((await hb('create-account', '-d', directory, '')).code, 2)
  await ok('create-account', '-d', directory, 'A')
  await ok('create-file', '-d', directory, 'A', 'F')
  t.equal((await hb('create-file', '-d', directory, 'A', 'x'.repeat(65))).code, 2)
  t.equal((await hb('write', '-d', directory, 'A', 'F', 'x'.repeat(1025), 'value')).code, 2)
  t.equal((await hb('write', '-d', directory, 'A', 'G', 'x', 'value')).code, 3)
  t.equal((await hb('apply', '-d', directory, 'off')).code, 4)
  t.equal(await ok('list', '-d', directory, 'A', 'F'), '')
})

/** Sends the bytes and returns all that comes back until the other side hangs up. */
function answerTo(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise(resolve => {
    let answer = ''
    const socket = connect(port, '127.0.0.1')
    socket.on('data', data => (answer += data.toString('latin1')))
    socket.on('error', () => {})
    socket.on('close', () => resolve(readable(answer)))
    socket.end(bytes)
  })
}

/** A TLS alert (type 21) is no answer: it says nothing but "no". */
function readable(answer: string): string {
  return answer.charCodeAt(0) === 21 ? '' : answer
}

/** JSON in which quotes look as they do in messages. */
function unquoted(json: string): string {
  return json.replaceAll('\\', '')
}
