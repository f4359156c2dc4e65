// The rules of this repository that no compiler, linter or formatter knows: how files are built, who imports
// whom, and that documents, package and code say the same.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { errorCodes, HotBackupError } from '../src/errors.ts'

const linesMax = 450
/** Prettier breaks code at 100; it leaves comments, texts and expressions alone. */
const columnsMax = 120

interface SourceFile {
  readonly path: string
  readonly text: string
  readonly lines: readonly string[]
}

function filesBelow(folder: string, pattern: RegExp): SourceFile[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(name => pattern.test(name))
    .sort()
    .map(name => {
      const path = join(folder, name)
      const text = readFileSync(path, 'utf8')
      return { path, text, lines: text.split('\n') }
    })
}

const source = filesBelow('src', /\.ts$/)
const code = ['test', 'bench', 'examples'].flatMap(folder => filesBelow(folder, /\.ts$/))
const prose = [...filesBelow('docs', /\.md$/), ...filesBelow('man', /\.\d$/)]
const packageJson = JSON.parse(readFileSync('package.json', 'utf8')) as {
  bin: Record<string, string>
  man: string[]
}

/** The files for which `wrong` has something to say, with what it says: an empty list is good. */
function faults(files: readonly SourceFile[], wrong: (file: SourceFile) => string[]): string[] {
  return files.flatMap(file => wrong(file).map(fault => `${file.path}: ${fault}`))
}

t.test('each file opens with its one job, and is short enough to be read', async t => {
  t.ok(source.length > 0)
  const opening = faults([...source, ...code], ({ lines }) => {
    const first = lines[0]?.startsWith('#!') === true ? lines[1] : lines[0]
    return first?.startsWith('// ') === true ? [] : ['opens without a comment']
  })
  t.strictSame(opening, [])
  const long = faults(source, ({ lines }) =>
    lines.length > linesMax ? [`${lines.length} lines`] : [],
  )
  t.strictSame(long, [])
  const wide = faults([...source, ...code], ({ lines }) =>
    lines.flatMap((line, index) => {
      // A long text stays on one line, so that it can be searched for.
      const text = /['"`/]/.test(line.replace(/^\s*(\/\/|\/?\*+).*/, ''))
      return line.length > columnsMax && !text
        ? [`line ${index + 1} has ${line.length} columns`]
        : []
    }),
  )
  t.strictSame(wide, [])
})

t.test('the top level holds the project, and nothing a program left there', async t => {
  const listed = execFileSync('git', ['ls-files'], { encoding: 'utf8' }).trim().split('\n')
  const top = [...new Set(listed.map(path => path.replace(/\/.*/s, '')))]
  const files = top.filter(name => !name.startsWith('.') && !/\.(md|json)$/.test(name))
  t.strictSame(files, ['LICENSE', 'bench', 'docs', 'examples', 'man', 'scripts', 'src', 'test'])
})

t.test('nothing is left for later', async t => {
  // Put together here, so that this file passes, too.
  const banned = new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|'))
  const left = faults([...source, ...code, ...prose], ({ lines }) =>
    lines.flatMap((line, index) =>
      banned.test(line) ? [`line ${index + 1}: ${line.trim()}`] : [],
    ),
  )
  t.strictSame(left, [])
  const vague = source.map(file => file.path).filter(path => /util|misc|common/.test(path))
  // A helper is a word of the design: a process.
  t.strictSame(vague, [], 'a name says what is in the file')
})

t.test('imports run one way', async t => {
  const { status, stdout } = spawnSync(process.execPath, ['scripts/floors.js'], {
    encoding: 'utf8',
  })
  t.equal(status, 0, stdout)
})

t.test('only the real platform reaches the outside', async t => {
  const outside = /^(node:)?(fs|net|tls|child_process|dgram|https?|http2|timers)(\/|$)/
  const calls =
    /\b(Date\.now|new Date\(\)|setTimeout|setInterval|Math\.random|randomBytes|randomUUID)\b/
  const wrong = faults(
    source.filter(({ path }) => !/^src\/(platform\/node-|cli\/)/.test(path)),
    ({ path, text }) => [
      ...importsOf(text).filter(
        name =>
          outside.test(name) ||
          (/\/node-[\w-]+\.ts$/.test(name) &&
            !/^src\/(platform|config|server|client)\//.test(path)),
      ),
      ...text.split('\n').filter(line => calls.test(withoutComment(line))),
    ],
  )
  t.strictSame(wrong, [])
})

t.test('every error is documented as it is, and raised somewhere', async t => {
  const rows = readFileSync('docs/ERRORS.md', 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| ERR_'))
    .map(line => line.split('|').map(cell => cell.trim()))
  t.strictSame(
    rows.map(row => row[1]),
    [...errorCodes],
    'the same codes in the same order',
  )
  for (const code of errorCodes) {
    const [, , exit, when, whatToDo] = rows.find(row => row[1] === code) ?? []
    const error = new HotBackupError(code, 'x')
    t.equal(Number(exit), error.exitCode, `${code}: exit code`)
    t.equal(whatToDo, error.hint, `${code}: what to do`)
    t.ok((when ?? '').length > 10, `${code}: when`)
  }
  const raised = (code: string) =>
    source.some(({ path, text }) => path !== 'src/errors.ts' && text.includes(`'${code}'`))
  t.strictSame(
    errorCodes.filter(code => !raised(code)),
    [],
  )
})

t.test('every command and format has its man page, and every page is shipped', async t => {
  const pages = existsSync('man') ? readdirSync('man').map(name => `./man/${name}`) : []
  t.strictSame([...packageJson.man].sort(), pages.sort())
  for (const [command, path] of Object.entries(packageJson.bin)) {
    t.ok(
      pages.some(page => /^\.\/man\/(.+)\.[18]$/.exec(page)?.[1] === command),
      `${command} has a page`,
    )
    const entry = path.replace('./dist/', 'src/').replace(/\.js$/, '.ts')
    t.ok(existsSync(entry), `${command} is ${entry}`)
  }
})

t.test('every test that docs/RELIABILITY.md names is there', async t => {
  const text = readFileSync('docs/RELIABILITY.md', 'utf8')
  const named = [...text.matchAll(/`(test\/[\w/-]+\.ts)`((?:,? "[^"]+")*)/g)]
  t.ok(named.length > 20)
  for (const [, path = '', titles = ''] of named) {
    const test = existsSync(path) ? readFileSync(path, 'utf8') : null
    t.ok(test !== null, path)
    for (const [, title = ''] of titles.matchAll(/"([^"]+)"/g)) {
      t.ok(test?.includes(title.replace(/ …$/, '')), `${path}: ${title}`)
    }
  }
})

/** The modules that a source file names in import and export declarations, and in import(). */
function importsOf(text: string): string[] {
  const pattern =
    /^(?:import|export)\b[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\('([^']+)'\)/gm
  return [...text.matchAll(pattern)].map(match => match[1] ?? match[2] ?? match[3] ?? '')
}

function withoutComment(line: string): string {
  return /^\s*(\/\/|\/?\*)/.test(line) ? '' : line.replace(/\s\/\/ .*$/, '')
}
