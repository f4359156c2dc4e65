// Servers that belong to another user than the one who runs a command: root works with the owner's rights, and what it
// makes is the owner's; any other user is refused. As root only, by real processes of several users.
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { freePort, temporaryDirectory, until, type Outcome } from '../helpers/servers.ts'
import { directoryOf, foreignIn, nobody, runAs, unlisted, withoutUsers } from '../helpers/users.ts'

const options = { skip: withoutUsers }

/** The commands that a user runs, each of which must succeed. */
function commandsOf(user: number | null) {
  return async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await runAs(user, 'hb', args)
    if (code !== 0) throw new Error(`hb ${args.join(' ')} of ${user} ended with ${code}: ${stderr}`)
    return stdout
  }
}

const sudo = commandsOf(null)

t.test('what root does to a server is done by its owner', options, async t => {
  for (const user of [nobody, unlisted]) {
    const home = directoryOf(t, user)
    const own = commandsOf(user)
    const [master, slave] = [path.join(home, 'alpha'), path.join(home, 'beta')]
    t.teardown(async () => {
      await runAs(null, 'hb', ['stop', '-d', master])
      await runAs(null, 'hb', ['stop', '-d', slave])
    })
    const address = `127.0.0.1:${await freePort()}`
    const root = path.dirname(home)
    // What root alone may read.
    const key = path.join(root, 'hb.key')
    const csv = path.join(root, 'items.csv')
    writeFileSync(csv, 'ID,NAME\n1,Ada\n,nobody\n', { mode: 0o600 })

    await sudo(
      'setup',
      '-d',
      master,
      '--type',
      'master',
      '--name',
      'alpha',
      '--slave',
      `beta=${address}`,
    )
    execFileSync('install', ['-m', '600', path.join(master, 'hb.key'), key])
    await sudo(
      'setup',
      '-d',
      slave,
      '--type',
      'slave',
      '--name',
      'beta',
      '--listen',
      address,
      '--key',
      key,
    )
    t.strictSame(foreignIn(home, user), [], 'setup in a directory of the user')

    await own('create-account', '-d', master, 'A')
    await sudo('create-file', '-d', master, 'A', 'F')
    await own('write', '-d', master, 'A', 'F', 'one', '1')
    await sudo('write', '-d', master, 'A', 'F', 'two', '2')
    const bad = path.join(home, 'bad.csv')
    const format = ['--format', 'csv', '--id', 'ID', '--skip-bad', bad]
    await runAs(null, 'hb', ['import', '-d', master, 'A', 'F', csv, ...format])
    t.equal(statSync(bad).uid, user, 'what was skipped')
    t.equal(await own('read', '-d', master, 'A', 'F', '1'), '{"ID":"1","NAME":"Ada"}')
    t.strictSame(foreignIn(home, user), [])

    if (user === unlisted) continue
    await sudo('start', '-d', slave)
    await own('start', '-d', master)
    await own('wait', '-d', master, '--timeout', '30')
    for (const directory of [master, slave]) {
      const { pid } = JSON.parse(await own('status', '-d', directory, '--json')) as { pid: number }
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      t.match(status, new RegExp(`^Uid:\\t${user}\\t${user}\\t${user}\\t${user}$`, 'm'))
      t.notMatch(status, /^Gid:.*\t0\b/m, "no group of root's")
      t.notMatch(status, /^Groups:\t(.* )?0 /m)
    }
    await sudo('apply', '-d', slave, 'off')
    await sudo('write', '-d', master, 'A', 'F', 'four', '4')
    await sudo('stop', '-d', slave)
    t.equal((await runAs(null, 'hb-replay', ['-d', slave])).code, 0)
    await own('start', '-d', slave)
    await own('apply', '-d', slave, 'on')
    await sudo('wait', '-d', master, '--timeout', '30')
    t.equal(await own('digest', '-d', slave), await sudo('digest', '-d', master))
    await sudo('save', '-d', slave, '--to', path.join(home, 'saved'))
    await sudo('restore', '--from', path.join(home, 'saved'), '-d', path.join(home, 'gamma'))
    t.strictSame(foreignIn(home, user), [])
    await sudo('stop', '-d', master)
    await own('stop', '-d', slave)
    t.strictSame(foreignIn(home, user), [])
  }
})

t.test(
  'a server that root starts by its program runs the alarm command as its owner',
  options,
  async t => {
    const home = directoryOf(t, nobody)
    const master = path.join(home, 'alpha')
    const told = path.join(home, 'told')
    const own = commandsOf(nobody)
    await own(
      'setup',
      '-d',
      master,
      '--type',
      'master',
      '--name',
      'alpha',
      '--slave',
      'beta=127.0.0.1:2999',
      '--no-key',
    )
    const toml = path.join(master, 'hb.toml')
    const alarm = `command = "id -u >> ${told}; echo $HOME $USER >> ${told}"\nafter = "1s"`
    writeFileSync(toml, readFileSync(toml, 'utf8').replace('# command = ""', alarm))
    const running = runAs(null, 'hb-shipper', ['-d', master])
    await until('the command was run', async () => {
      return execFileSync('sh', ['-c', `cat ${told} 2>/dev/null || true`])
        .toString()
        .includes('nobody')
    })
    t.equal(readFileSync(told, 'utf8'), `${nobody}\n/nonexistent nobody\n`)
    await own('stop', '-d', master)
    t.equal((await running).code, 0)
    t.strictSame(foreignIn(home, nobody), [])
  },
)

t.test('a user without rights gets one clear refusal', options, async t => {
  const home = directoryOf(t, nobody)
  const master = path.join(home, 'alpha')
  await commandsOf(nobody)('setup', '-d', master, '--type', 'master', '--name', 'alpha')
  const refused = (outcome: Outcome, owner: RegExp) => {
    const lines = outcome.stderr.trimEnd().split('\n')
    t.equal(outcome.code, 1)
    t.equal(lines.length, 1, outcome.stderr)
    t.match(lines[0], /^hb[-a-z]*: ERR_OTHER_USER: /)
    t.match(lines[0], owner)
  }
  const tried: readonly (readonly [number, string, readonly string[]])[] = [
    [0o700, 'hb', ['status']],
    [0o700, 'hb-shipper', []],
    [0o755, 'hb', ['write', 'A', 'F', 'x', 'y']],
    [0o755, 'hb', ['start']],
    [0o755, 'hb-slave', []],
  ]
  for (const [mode, program, args] of tried) {
    chmodSync(home, mode)
    const outcome = await runAs(unlisted, program, [...args, '-d', master])
    refused(outcome, /belongs to user 65534, and this is user 54321. .*sudo -u '#65534'/)
  }
  const roots = temporaryDirectory(t)
  await sudo('setup', '-d', path.join(roots, 'north'), '--type', 'master', '--name', 'north')
  for (const file of [roots, path.join(roots, 'north')]) chmodSync(file, 0o755)
  refused(
    await runAs(nobody, 'hb', ['status', '-d', path.join(roots, 'north')]),
    /belongs to root.*Run it as root/,
  )
  // No server is no server, whoever owns the place.
  t.match(await runAs(nobody, 'hb', ['status', '-d', roots]), {
    code: 4,
    stderr: /ERR_NOT_A_SERVER/,
  })
  t.match(await runAs(nobody, 'hb', ['status', '-d', path.join(roots, 'nowhere')]), {
    stderr: /ERR_NOT_A_SERVER/,
  })
})

t.test('the library refuses instead: its process is not ours', options, async t => {
  const home = directoryOf(t, nobody)
  const master = path.join(home, 'alpha')
  await commandsOf(nobody)('setup', '-d', master, '--type', 'master', '--name', 'alpha')
  const library = new URL('../../src/index.js', import.meta.url).href
  const program = path.join(path.dirname(home), 'program.mjs')
  writeFileSync(
    program,
    `import { Master } from '${library}'
const master = await Master.open('${master}').catch(error => error)
console.log(process.getuid(), master.code ?? 'open', master.message ?? '')
await master.close?.()`,
  )
  chmodSync(program, 0o644)
  const root = await runAs(null, program, [])
  t.match(root.stdout, /^0 ERR_OTHER_USER .*belongs to user 65534, and this program runs as root/)
  t.match((await runAs(unlisted, program, [])).stdout, /^54321 ERR_OTHER_USER /)
  t.match((await runAs(nobody, program, [])).stdout, /^65534 open /)
  t.strictSame(foreignIn(home, nobody), [])
})

t.test('what the owner may not do fails with the reason', options, async t => {
  const home = directoryOf(t, nobody)
  const master = path.join(home, 'alpha')
  await sudo('setup', '-d', master, '--type', 'master', '--name', 'alpha')
  await sudo('create-account', '-d', master, 'A')
  const roots = temporaryDirectory(t)
  const saved = await runAs(null, 'hb', ['save', '-d', master, '--to', path.join(roots, 'save')])
  t.equal(saved.code, 1)
  t.match(
    saved.stderr,
    /ERR_DISK: .*EACCES.* Root works in .*alpha with the rights of its owner, user 65534/,
  )
  // What is not about a server is read with the rights of root, wherever root is.
  await sudo('create-file', '-d', master, 'A', 'F')
  const segment = path.join(roots, '0000000000000001.log')
  execFileSync('cp', [path.join(master, 'log', '0000000000000001.log'), segment])
  for (const verb of ['verify', 'dump']) {
    const { stderr } = await runAs(null, 'hb', ['log', verb, segment], { cwd: home })
    t.notMatch(stderr, /EACCES/)
  }
  // The owner's directory below one where the owner cannot go.
  const inside = path.join(roots, 'inside')
  mkdirSync(inside)
  chownSync(inside, nobody, nobody)
  t.match(await runAs(null, 'hb', ['status', '-d', inside]), {
    code: 1,
    stderr: /Root works in .*inside with the rights/,
  })
  t.equal(statSync(inside).uid, nobody)
})
