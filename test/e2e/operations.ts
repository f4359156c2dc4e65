// What operators do to servers at work: change hb.toml, send signals, move messages.log, leave a slave away.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { long } from '../helpers/long-form.ts'
import { edit, freePort, hb, ok, Pair, startAlone, statusOf, until } from '../helpers/servers.ts'

/** What test/report/follow-watch.ts and the like try in small. */
const inTheLongForm = { skip: !long && 'only with HB_LONG=1' }

const messages = (directory: string) => path.join(directory, 'messages.log')
const said = (directory: string) => {
  const file = messages(directory)
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
const pidOf = async (directory: string) => {
  const { pid } = await statusOf(directory)
  if (pid === null) throw new Error(`${directory} does not run`)
  return pid
}

t.test('hb.toml is read again: what can be is in force, the rest is named', async t => {
  const pair = await Pair.make(t)
  const west = path.join(pair.root, 'west')
  const address = `127.0.0.1:${await freePort()}`
  const key = path.join(pair.master, 'hb.key')
  const options = ['--type', 'slave', '--name', 'west', '--listen', address, '--key', key]
  await ok('setup', '-d', west, ...options)
  t.teardown(() => hb('stop', '-d', west))
  await ok('create-account', '-d', pair.master, 'A')
  const stopped = await hb('reload', '-d', pair.master)
  t.equal(stopped.code, 4)
  t.match(stopped.stderr, /^hb: ERR_NOT_RUNNING: /)
  await pair.start()
  await startAlone(west)
  t.match(await ok('reload', '-d', pair.master), /\(shipper\): hb\.toml is as it was\n/)

  const toml = path.join(pair.master, 'hb.toml')
  const before = readFileSync(toml, 'utf8')
  writeFileSync(toml, `${before}\n[[slaves]]\nname = "west"\naddress = "${address}"\n`)
  edit(pair.master, /^# timeout = "30s"$/m, 'timeout = "31s"')
  edit(pair.master, /^# on_limit = .*$/m, 'on_limit = "refuse"')
  const unknown = await hb('wait', '-d', pair.master, '--timeout', '60')
  t.equal(unknown.code, 3)
  t.match(unknown.stderr, /^hb: ERR_NO_SLAVE: .* does not send to slave west; .*"hb reload"/)
  t.match(
    await ok('reload', '-d', pair.master),
    /^process \d+ \(shipper\): hb\.toml was read again; in force: queue\.on_limit, slaves \(west added\); after a restart: link\.timeout\n$/,
  )
  await ok('wait', '-d', pair.master, '--timeout', '60')
  t.match(await ok('reload', '-d', pair.master), /: hb\.toml was read again; after a restart: link/)

  const slaveToml = path.join(pair.slave, 'hb.toml')
  const own = readFileSync(slaveToml, 'utf8')
  writeFileSync(slaveToml, `${own}\n[[slaves]]\nname = "west"\naddress = "${address}"\n`)
  t.match(await hb('wait', '-d', pair.slave, '--slave', 'west', '--timeout', '60'), {
    code: 3,
    stderr: /^hb: ERR_NO_SLAVE: beta is a slave and forwards nothing: log_slave_updates .* is off/,
  })
  writeFileSync(slaveToml, own)

  const pid = await pidOf(pair.master)
  writeFileSync(toml, before.replace('[queue]', '[queue]\nlimti = 5'))
  const wrong = await hb('reload', '-d', pair.master)
  t.equal(wrong.code, 2)
  t.match(wrong.stderr, /^hb: ERR_CONFIG: hb\.toml line \d+: queue\.limti: is no key of hb\.toml/)
  process.kill(pid, 'SIGHUP')
  await until('the shipper says so', async () =>
    /stay in force: hb.toml line/.test(said(pair.master)),
  )
  writeFileSync(toml, `${before}\n[[slaves]]\nname = "west"\naddress = "${address}"\n`)
  await ok('create-account', '-d', pair.master, 'B')
  await ok('wait', '-d', pair.master, '--timeout', '60')

  writeFileSync(toml, before)
  t.match(
    await ok('reload', '-d', pair.master),
    /in force: queue.on_limit, slaves \(west removed\)/,
  )
  await ok('stop', '-d', west)
  await ok('create-account', '-d', pair.master, 'C')
  await ok('wait', '-d', pair.master, '--timeout', '60')
})

t.test('a program that has the master open reads hb.toml again, too', inTheLongForm, async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  t.equal(master.status().commit.level, 'local')
  edit(pair.master, /^# level = "local"$/m, 'level = "durable"')
  edit(pair.master, /^# timeout = "10s"$/m, 'timeout = "200ms"')
  edit(pair.master, /^# on_timeout = .*$/m, 'on_timeout = "continue"')
  edit(pair.master, /^# limit = "0"$/m, 'limit = "1GiB"')
  t.match(
    await ok('reload', '-d', pair.master),
    /\(master\): .* in force: commit.level, commit.timeout/,
  )
  const { commit, queue } = master.status()
  t.equal(commit.level, 'durable')
  t.equal(queue.limitBytes, 2 ** 30)
  await master.createAccount('A')
  t.equal(master.status().commit.state, 'alone', 'nobody answers')
  await pair.start()
  await until('in step', async () => master.status().commit.state === 'in step')

  // Another slave counts from now on: it needs the log, and is waited for.
  const toml = path.join(pair.master, 'hb.toml')
  const address = `127.0.0.1:${await freePort()}`
  const text = readFileSync(toml, 'utf8').replace('on_timeout = "continue"', 'slaves = 2')
  writeFileSync(toml, `${text}\n[[slaves]]\nname = "west"\naddress = "${address}"\n`)
  await ok('reload', '-d', pair.master)
  await t.rejects(master.wait(master.lastTxn, 'durable', { timeoutMs: 100 }), {
    code: 'ERR_TIMEOUT',
  })
})

t.test('signals: read again, no debugger, and a clean end', async t => {
  const pair = await Pair.make(t)
  await ok('create-account', '-d', pair.master, 'A')
  await pair.start()
  await ok('wait', '-d', pair.master, '--timeout', '60')
  for (const directory of [pair.master, pair.slave]) {
    const pid = await pidOf(directory)
    renameSync(messages(directory), `${messages(directory)}.old`)
    process.kill(pid, 'SIGUSR1')
    process.kill(pid, 'SIGHUP')
    await until('SIGHUP was heard', async () => /hb\.toml is as it was/.test(said(directory)))
    t.equal(await pidOf(directory), pid, 'the server goes on')
    t.notMatch(readFileSync(`${messages(directory)}.old`, 'utf8'), /hb\.toml is as it was/)
    const debuggers = await new Promise(resolve => {
      const socket = connect(9229, '127.0.0.1', () => resolve('listens'))
      socket.on('error', () => resolve('none'))
      t.teardown(() => socket.destroy())
    })
    t.equal(debuggers, 'none', 'no port of a debugger')
    process.kill(pid, 'SIGQUIT')
    process.kill(pid, 'SIGTERM')
    await until('it has ended', async () => !(await statusOf(directory)).running)
    t.match(said(directory), /has stopped/, 'cleanly')
  }
})

t.test(
  'a slave that does not follow is one alarm, and one when it follows',
  inTheLongForm,
  async t => {
    const pair = await Pair.make(t)
    const told = path.join(pair.root, 'told')
    for (const directory of [pair.master, pair.slave]) {
      edit(directory, /^# command = .*$/m, `command = 'cat >> ${told}.$HB_SERVER'`)
      edit(directory, /^# after = .*$/m, 'after = "1s"')
      edit(directory, /^# level = "error"$/m, 'level = "warn"')
    }
    const lines = (name: string) => {
      const file = `${told}.${name}`
      const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
      return text.split('\n').filter(line => line !== '')
    }
    const count = (name: string, lines_: number) =>
      until(`${lines_} alarms of ${name}`, async () => lines(name).length >= lines_)
    await ok('create-account', '-d', pair.master, 'A')
    await startAlone(pair.master)
    await count('alpha', 1)
    await startAlone(pair.slave)
    await count('alpha', 2)
    const [first, second, ...more] = lines('alpha')
    t.match(first, /Z error alpha: slave beta has not followed for 1 s: ERR_CONNECT: /)
    t.match(second, /Z info alpha: slave beta follows again$/)
    t.strictSame(more, [])
    await ok('stop', '-d', pair.master)
    await count('beta', 1)
    t.match(lines('beta'), [/Z error beta: beta has not followed for 1 s: /])

    // Another key: at once, and only that.
    edit(pair.master, /^after = .*$/m, 'after = "1h"')
    writeFileSync(path.join(pair.master, 'hb.key'), `${'0123456789abcdef'.repeat(4)}\n`)
    await startAlone(pair.master)
    await count('alpha', 3)
    t.match(lines('alpha').slice(2), [/Z error alpha: slave beta does not follow: ERR_KEY: /])
  },
)
