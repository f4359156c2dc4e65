// People's mistakes: each has its code and exit status, and one line that names the object and says what helps, and
// nothing that would not help.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { diskError } from '../../src/platform/disk-error.ts'
import { hb, ok, replay, temporaryDirectory } from '../helpers/servers.ts'

interface Mistake {
  readonly line: readonly string[]
  readonly code: string
  readonly exit: number
  /** Each of them is in the message, or its hint. */
  readonly says: readonly string[]
  /** Beside what no such message says. */
  readonly never?: readonly string[]
}

/** What helps elsewhere: with the disk, another process, or something that nobody is to lose. */
const never = [
  'Look at the disk',
  'system log',
  'hb stop',
  'delete the old',
  'such as the disk',
  'internal error',
]

t.test('a mistake is answered by what it is and what helps', async t => {
  const root = temporaryDirectory(t)
  const at = (...names: string[]) => path.join(root, ...names)
  const [north, south] = [at('north'), at('south')]
  await ok('setup', '-d', north, '--type', 'master', '--name', 'north')
  await ok(
    'setup',
    '-d',
    south,
    '--type',
    'slave',
    '--name',
    'south',
    '--key',
    at('north', 'hb.key'),
  )
  await ok('create-account', '-d', north, 'a')
  await ok('create-file', '-d', north, 'a', 'f')
  await ok('write', '-d', north, 'a', 'f', 'i', 'value')
  writeFileSync(at('plain'), 'text\n'.repeat(100))
  writeFileSync(at('short'), 'text\n')
  mkdirSync(at('empty'))
  mkdirSync(at('full'))
  writeFileSync(at('full', 'file'), 'x')
  symlinkSync('loop', at('loop'))
  symlinkSync('plain', at('link'))
  const long = at('x'.repeat(300))
  const jsonl = ['--format', 'jsonl', '--id', 'id']
  const missing = 'there is no such file or directory'

  const rows: Mistake[] = [
    // Paths of files to read
    ...(['verify', 'dump'] as const).flatMap((command): Mistake[] => [
      {
        line: ['log', command, at('none')],
        code: 'ERR_DISK',
        exit: 1,
        says: [at('none'), missing, 'Check the path.'],
      },
      {
        line: ['log', command, at('plain', 'x')],
        code: 'ERR_DISK',
        exit: 1,
        says: ['plain/x', 'is a file, not a directory'],
      },
      {
        line: ['log', command, at('empty')],
        code: 'ERR_DISK',
        exit: 1,
        says: ['empty', 'it is a directory, not a file'],
      },
      {
        line: ['log', command, at('loop')],
        code: 'ERR_DISK',
        exit: 1,
        says: ['loop', 'links lead in a circle'],
      },
      {
        line: ['log', command, long],
        code: 'ERR_DISK',
        exit: 1,
        says: ['the path is too long', 'Use a shorter path.'],
      },
      {
        line: ['log', command, at('plain')],
        code: 'ERR_LOG_CORRUPT',
        exit: 5,
        says: [at('plain'), 'Check that it is a segment'],
        never: ['--repair'],
      },
      {
        line: ['log', command, at('short')],
        code: 'ERR_LOG_',
        exit: 5,
        says: [at('short'), 'Check that it is a segment'],
        never: ['--repair', 'cuts it off'],
      },
      {
        line: ['log', command, at('link')],
        code: 'ERR_LOG_CORRUPT',
        exit: 5,
        says: ['Check that it is a segment'],
        never: ['--repair'],
      },
    ]),
    ...['import', 'replay'].flatMap((command): Mistake[] => {
      const line = (name: string) =>
        command === 'import'
          ? ['import', '-d', north, 'a', 'f', name, ...jsonl]
          : ['hb-replay', '-d', south, '--segments', name]
      const importing = command === 'import'
      return [
        {
          line: line(at('none')),
          code: importing ? 'ERR_DISK' : 'ERR_USAGE',
          exit: importing ? 1 : 2,
          says: [at('none'), 'Check the path.'],
        },
        {
          line: line(at('empty')),
          code: importing ? 'ERR_INPUT' : 'ERR_DISK',
          exit: 1,
          says: [at('empty'), 'is a directory'],
        },
        { line: line(at('loop')), code: 'ERR_DISK', exit: 1, says: ['links lead in a circle'] },
        { line: line(long), code: 'ERR_DISK', exit: 1, says: ['the path is too long'] },
      ]
    }),
    {
      line: ['hb-replay', '-d', south, '--segments', at('full')],
      code: 'ERR_USAGE',
      exit: 2,
      says: ['full holds no segments', 'log/ of the master'],
    },
    {
      line: ['hb-replay', '-d', north, '--missing', at('none')],
      code: 'ERR_USAGE',
      exit: 2,
      says: [`there is no ${at('none')}`, 'Check the path.'],
    },
    {
      line: ['import', '-d', north, 'a', 'f', at('plain'), ...jsonl, '--skip-bad', at('plain')],
      code: 'ERR_EXISTS',
      exit: 1,
      says: [`${at('plain')} is there already`, 'another file'],
    },
    {
      line: [
        'import',
        '-d',
        north,
        'a',
        'f',
        at('plain'),
        ...jsonl,
        '--skip-bad',
        at('none', 'bad'),
      ],
      code: 'ERR_DISK',
      exit: 1,
      says: [missing, 'Check the path.'],
    },
    {
      line: ['import', '-d', north, 'a', 'f', at('plain'), ...jsonl],
      code: 'ERR_IMPORT',
      exit: 1,
      says: ['line 1: not JSON', '--skip-bad'],
    },

    // What is there, and what is not
    {
      line: ['setup', '-d', north, '--type', 'master', '--name', 'north'],
      code: 'ERR_EXISTS',
      exit: 1,
      says: [`${north} is a server already`, 'another directory with -d'],
      never: ['delete'],
    },
    {
      line: ['create-account', '-d', north, 'a'],
      code: 'ERR_EXISTS',
      exit: 1,
      says: ['account a exists already'],
      never: ['delete'],
    },
    {
      line: ['create-file', '-d', north, 'a', 'f'],
      code: 'ERR_EXISTS',
      exit: 1,
      says: ['file a f exists already'],
      never: ['delete'],
    },
    {
      line: ['save', '-d', north, '--to', at('full')],
      code: 'ERR_EXISTS',
      exit: 1,
      says: [at('full'), 'is not empty', '--to'],
      never: ['delete'],
    },
    {
      line: ['read', '-d', north, 'b', 'f', 'i'],
      code: 'ERR_NO_ACCOUNT',
      exit: 3,
      says: ['no account b', '"hb list"'],
    },
    {
      line: ['read', '-d', north, 'a', 'g', 'i'],
      code: 'ERR_NO_FILE',
      exit: 3,
      says: ['no file a g', '"hb list ACCOUNT"'],
    },
    {
      line: ['read', '-d', north, 'a', 'f', 'j'],
      code: 'ERR_NO_ITEM',
      exit: 3,
      says: ['no item "j" in a f', '"hb list ACCOUNT FILE"'],
    },
    {
      line: ['import', '-d', north, 'a', 'g', ...jsonl],
      code: 'ERR_NO_FILE',
      exit: 3,
      says: ['no file a g'],
    },
    {
      line: ['seed', '-d', north, '--slave', 'east'],
      code: 'ERR_NOT_RUNNING',
      exit: 4,
      says: ['north is not running', '"hb start"'],
    },
    {
      line: ['lost', 'show', '-d', south, '7'],
      code: 'ERR_NO_LOST',
      exit: 3,
      says: ['no transaction "7"', '"hb lost list"'],
    },

    // The server's directory, and its state
    {
      line: ['list', '-d', at('none')],
      code: 'ERR_NOT_A_SERVER',
      exit: 4,
      says: [at('none'), 'hb setup'],
    },
    { line: ['list', '-d', at('plain')], code: 'ERR_', exit: 1, says: [at('plain')] },
    {
      line: ['stop', '-d', north],
      code: 'ERR_NOT_RUNNING',
      exit: 4,
      says: ['north is not running', 'nothing to stop'],
      never: ['hb start'],
    },
    {
      line: ['reload', '-d', north],
      code: 'ERR_NOT_RUNNING',
      exit: 4,
      says: ['nothing to reload'],
    },
    {
      line: ['write', '-d', south, 'a', 'f', 'i', 'v'],
      code: 'ERR_READ_ONLY',
      exit: 4,
      says: ['south is a slave', 'write on the master'],
    },
    {
      line: ['promote', '-d', north],
      code: 'ERR_WRONG_TYPE',
      exit: 4,
      says: ['north is a master already', 'nothing to promote'],
    },
    {
      line: ['promote', '-d', south],
      code: 'ERR_UNSAFE',
      exit: 4,
      says: ['never received anything', 'Promote a slave that holds the database'],
    },
    {
      line: ['apply', '-d', north, 'off'],
      code: 'ERR_WRONG_TYPE',
      exit: 4,
      says: ['only a slave applies updates'],
    },
    {
      line: ['restore', '-d', at('new'), '--from', at('none')],
      code: 'ERR_SAVE',
      exit: 4,
      says: [at('none'), 'Check the path'],
    },
    {
      line: ['restore', '-d', at('new'), '--from', at('full')],
      code: 'ERR_SAVE',
      exit: 4,
      says: [at('full'), 'half a save'],
    },

    // Names, numbers and words
    {
      line: ['create-account', '-d', north, 'x'.repeat(5000)],
      code: 'ERR_NAME',
      exit: 2,
      says: ['has 5000 bytes', '1 to 64 bytes'],
      never: ['x'.repeat(70)],
    },
    { line: ['create-account', '-d', north, '../x'], code: 'ERR_NAME', exit: 2, says: ['"../x"'] },
    {
      line: ['create-account', '-d', north, 'x\u001b[1m'],
      code: 'ERR_NAME',
      exit: 2,
      says: ['control character'],
    },
    {
      line: ['create-file', '-d', north, 'a', 'g', '--modulo', '0'],
      code: 'ERR_USAGE',
      exit: 2,
      says: ['--modulo', 'whole number'],
    },
    {
      line: ['write', '-d', north, 'a', 'f', '', 'v'],
      code: 'ERR_ITEM_ID',
      exit: 2,
      says: ['1 to 1,024 bytes'],
    },
    {
      line: ['write', '-d', north, 'a', 'f', 'zz', 'v', '--hex'],
      code: 'ERR_USAGE',
      exit: 2,
      says: ['not hexadecimal', 'two digits'],
    },
    {
      line: ['list', '-d', north, '--jsno'],
      code: 'ERR_USAGE',
      exit: 2,
      says: ["unknown option '--jsno'"],
    },
    { line: ['lsit'], code: 'ERR_USAGE', exit: 2, says: ["unknown command 'lsit'"] },
    {
      line: ['import', '-d', north, 'a', 'f', ...jsonl, '--delimiter', ';'],
      code: 'ERR_USAGE',
      exit: 2,
      says: ['--delimiter is for --format csv'],
    },
    {
      line: ['import', '-d', north, 'a', 'f', ...jsonl, '--encoding', 'x'],
      code: 'ERR_USAGE',
      exit: 2,
      says: ['no encoding "x"', 'utf-16le'],
    },
  ]
  const digest = await ok('digest', '-d', north)
  for (const { line, code, exit, says, never: not = [] } of rows) {
    const [command = '', ...rest] = line
    const name = line.map(word => word.replace(root, '…').slice(0, 40)).join(' ')
    const {
      code: status,
      stdout,
      stderr,
    } = command === 'hb-replay' ? await replay(...rest) : await hb(...line)
    t.strictSame({ status, stdout }, { status: exit, stdout: '' }, name)
    t.match(stderr, new RegExp(`^hb(-replay)?: ${code}[^\n]*\n$`), name)
    for (const text of says) t.ok(stderr.includes(text), `${name} says "${text}": ${stderr}`)
    for (const text of [...never, ...not]) t.notOk(stderr.includes(text), `${name}: ${stderr}`)
    t.ok(stderr.length < 1500, `${name}: short`)
  }
  t.equal(await ok('digest', '-d', north), digest, 'and nothing was changed')
})

t.test('an error of the system has plain words and a hint, wherever a path leads', async t => {
  for (const [code, words, hint] of [
    ['ENOENT', 'there is no such file or directory', 'Check the path.'],
    ['EACCES', 'permission denied', 'permissions'],
    ['EPERM', 'it is not permitted', 'permissions'],
    ['EROFS', 'mounted read-only', 'another directory'],
    ['EMFILE', 'too many open files', 'ulimit -n'],
    ['ENFILE', 'too many open files', 'of this system'],
    ['EISDIR', 'it is a directory', 'Check the path.'],
    ['ENOTDIR', 'is a file, not a directory', 'Check the path.'],
    ['ELOOP', 'links lead in a circle', 'Check the path.'],
    ['ENAMETOOLONG', 'too long', 'shorter path'],
    ['ENOSPC', 'no space is left', 'Make room'],
    ['EDQUOT', 'quota', 'Make room'],
    ['EFBIG', 'too large', 'ulimit -f'],
    ['EXDEV', 'EXDEV: as the system says it', 'Look at the disk and the system log.'],
    ['EIO', 'EIO: as the system says it', 'Look at the disk and the system log.'],
  ] as const) {
    const cause = Object.assign(new Error(`${code}: as the system says it`), { code, syscall: 'x' })
    const error = diskError(cause, 'write', '/srv/x')
    if (!(error instanceof HotBackupError)) throw new Error(code)
    t.ok(error.message.startsWith('cannot write /srv/x: '), error.message)
    t.ok(error.message.includes(words) && error.message.includes(code), error.message)
    t.ok(error.hint.includes(hint), `${code}: ${error.hint}`)
    const full = code === 'ENOSPC' || code === 'EDQUOT'
    t.equal(error.code, full ? 'ERR_DISK_FULL' : 'ERR_DISK')
    t.equal(error.cause, cause)
  }
  const program = new TypeError('a mistake of the program')
  t.equal(diskError(program, 'write', '/srv/x'), program)
})
