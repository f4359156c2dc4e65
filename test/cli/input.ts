// What commands read, and arguments as bytes: real processes, since Node and the shell have their part in it.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { hbReading, ok, temporaryDirectory, type Outcome } from '../helpers/servers.ts'

const program = new URL('../../src/cli/hb.js', import.meta.url).pathname

const replay = program.replace(/hb\.js$/, 'hb-replay.js')

/** A command line for the shell; "hb" and "$d" (the server's directory) are what they say. */
function shell(directory: string, line: string, input = ''): Promise<Outcome> {
  const script = `hb() { "$node" "$program" "$@"; }; hb-replay() { "$node" "$replay" "$@"; }; ${line}`
  const env = { ...process.env, node: process.execPath, program, replay, d: directory }
  return new Promise(resolve => {
    const child = execFile('bash', ['-c', script], { env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, stdout, stderr })
    })
    child.stdin?.on('error', () => {}) // The command may end without reading.
    child.stdin?.end(input)
  })
}

async function master(test: Parameters<typeof temporaryDirectory>[0]): Promise<string> {
  const directory = path.join(temporaryDirectory(test), 'north')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north')
  await ok('create-account', '-d', directory, 'a')
  await ok('create-file', '-d', directory, 'a', 'f')
  return directory
}

t.test('what cannot be read is no empty item', async t => {
  const dir = await master(t)
  await ok('write', '-d', dir, 'a', 'f', 'i', 'kept')
  const digest = await ok('digest', '-d', dir)
  const file = path.join(temporaryDirectory(t), 'written')
  for (const [redirection, said] of [
    ['<&-', 'standard input is closed'],
    ['< /', 'standard input is a directory'],
    ['<> /dev/null', 'standard input is closed'],
    [`0> ${file}`, 'cannot read standard input'],
  ]) {
    for (const command of [
      'hb write -d "$d" a f i',
      'hb import -d "$d" new f --create --format jsonl --id id',
      'hb import -d "$d" new f --create --format csv --id id',
    ]) {
      const { code, stdout, stderr } = await shell(dir, `${command} ${redirection}`)
      t.match({ code, stdout }, { code: 1, stdout: '' }, `${command} ${redirection}`)
      t.ok(stderr.startsWith(`hb: ERR_INPUT: ${said}`), stderr)
    }
  }
  t.match(await shell(dir, 'hb write -d "$d" a f i < /proc/self/mem'), {
    code: 1,
    stderr: /^hb: ERR_INPUT: cannot read standard input: /,
  })
  // At a terminal: its end comes at once, and the shell's own answer is in its output.
  const terminal =
    'script -qec \'bash -c "$node $program write -d $d a f i"; echo "ended with $?"\' /dev/null < /dev/null'
  const typed = await shell(
    dir,
    `export node program d; which script > /dev/null || exit 99; ${terminal}`,
  )
  if (typed.code === 99) t.comment('no script(1) to make a terminal with')
  else
    t.match(
      typed.stdout,
      /ERR_INPUT: standard input is a terminal, and nothing was typed.*ended with 1/s,
    )
  const directory = await shell(dir, 'hb import -d "$d" new f / --create --format jsonl --id id')
  t.match(directory, { code: 1, stderr: /^hb: ERR_INPUT: \/ is a directory/ })
  t.equal(await ok('digest', '-d', dir), digest, 'nothing was changed')

  t.match(await shell(dir, 'hb write -d "$d" a f i < /dev/null'), { code: 0 })
  t.equal(await ok('read', '-d', dir, 'a', 'f', 'i'), '', 'an empty item that is meant')
})

t.test('an input that breaks off in the middle changes nothing but what came before', async t => {
  const dir = await master(t)
  await ok('write', '-d', dir, 'a', 'f', 'i', 'kept')
  const broken = function* (first: string): Generator<Buffer> {
    yield Buffer.from(first)
    throw new HotBackupError('ERR_INPUT', 'cannot read standard input: EIO')
  }
  const said = { code: 1, stdout: '', stderr: /^hb: ERR_INPUT: cannot read standard input: EIO/ }
  for (const form of [[], ['--hex'], ['--marks']]) {
    t.match(await hbReading(broken('6566'), 'write', '-d', dir, ...form, 'a', 'f', '69'), said)
    t.match(await hbReading(broken('6566'), 'write', '-d', dir, 'a', 'f', 'i'), said)
  }
  t.equal(await ok('export', '-d', dir, 'a', 'f'), '{"id":"i","value":"kept"}\n')
  const args = ['import', '-d', dir, 'a', 'f', '--format', 'jsonl', '--id', 'id']
  const half = broken('{"id":"j","value":"whole"}\n{"id":"i","value":"ha')
  t.match(await hbReading(half, ...args), { ...said, stderr: /EIO \(imported before it: 1 item\)/ })
  t.equal(await ok('read', '-d', dir, 'a', 'f', 'i'), 'kept')
  t.equal(await ok('read', '-d', dir, 'a', 'f', 'j'), 'whole')
})

t.test('a pipe can be named by a path', async t => {
  const dir = await master(t)
  const line = '{"id":"%s","value":"v"}\\n'
  const command = 'hb import -d "$d" a f --format jsonl --id id'
  const named = path.join(temporaryDirectory(t), 'pipe')
  for (const script of [
    `printf '${line}' 1 | ${command} /dev/stdin`,
    `${command} <(printf '${line}' 2)`,
    `mkfifo ${named}; (printf '${line}' 3 > ${named}) & ${command} ${named}`,
  ]) {
    t.match(await shell(dir, script), { code: 0, stdout: '1 item imported\n' }, script)
  }
  const input = '{"id":"4","value":"v"}\n'
  t.match(await shell(dir, `${command} /dev/stdin`, input), { code: 0 }, 'a socket')
  const file = path.join(temporaryDirectory(t), 'items')
  writeFileSync(file, input.replace('4', '5'))
  t.match(await shell(dir, `${command} /dev/stdin < ${file}`), { code: 0 }, 'a file')
  const ids = await ok('list', '-d', dir, 'a', 'f')
  t.strictSame(ids.trimEnd().split('\n').sort(), ['1', '2', '3', '4', '5'])
})

t.test('arguments are bytes where bytes are meant, and refused elsewhere', async t => {
  const dir = await master(t)
  const values = [
    String.raw`\xfe`,
    String.raw`\xfd`,
    String.raw`\xc3`,
    String.raw`\xed\xa0\x80`,
    '�',
  ]
  for (const [index, value] of values.entries()) {
    const line = `hb write -d "$d" a f $'k${value}' $'${value}${index}' && hb read -d "$d" a f $'k${value}'`
    t.equal((await shell(dir, `${line} | od -An -tx1`)).code, 0, line)
  }
  const listed = await shell(dir, 'hb list -d "$d" a f --hex | sort')
  t.strictSame(listed.stdout.trimEnd().split('\n'), [
    '6bc3',
    '6beda080',
    '6befbfbd',
    '6bfd',
    '6bfe',
  ])
  t.match(await shell(dir, 'hb read -d "$d" a f $\'k\\xfe\' | od -An -tx1'), { stdout: ' fe 30\n' })
  t.match(
    await shell(dir, 'hb delete -d "$d" a f $\'k\\xfe\' && hb read -d "$d" a f $\'k\\xfd\''),
    {
      code: 0,
    },
  )
  t.match(await shell(dir, 'hb read -d "$d" a f $\'k\\xfe\''), {
    code: 3,
    stderr: /^hb: ERR_NO_ITEM: there is no item "k\\xfe" in a f\. /,
  })
  for (const line of [
    'hb create-account -d "$d" $\'k\\xfe\'',
    'hb create-file -d "$d" a $\'k\\xfe\'',
    'hb list -d "$d"$\'\\xfe\'',
    "HB_DIR=$d$'\\xfe' hb setup --type master --name n",
    'mkdir "$d/"$\'\\xfe\' && cd "$d/"$\'\\xfe\' && hb setup --type master --name n',
    'hb import -d "$d" a f $\'/\\xfe\' --format jsonl --id id',
    'hb import -d "$d" a f --format jsonl --id $\'\\xfe\'',
    "hb log verify /a $'/\\xfe'",
    'hb-replay -d "$d" --account $\'\\xfe\'',
    "hb $'\\xfe'",
  ]) {
    const { code, stderr } = await shell(dir, line)
    t.equal(code, 2, line)
    t.match(stderr, /^hb(-replay)?: ERR_USAGE: .*\n$/, line)
  }
})
