// Makes bundles of the programs: a command that loads a few files starts in half the time of one that loads hundreds.
// "dist" is what is published; in "build" the programs that tests start take the place of what tsc has made of them,
// and the modules that tests import stay as they are.
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { rolldown } from 'rolldown'

const programs = [
  'cli/hb',
  'cli/hb-replay',
  'cli/server-process',
  'cli/hb-shipper',
  'cli/hb-slave',
  'server/check-process',
  'server/helper-process',
  'platform/command-process',
]
/** Loaded into programs, or programs themselves: they must share the modules of the bundle. */
const testPrograms = ['helpers/fault-injector', 'helpers/writer-process']

const targets = {
  dist: { root: '', entries: ['index', ...programs].map(name => [name, `src/${name}.ts`]) },
  build: {
    root: 'src/',
    entries: [
      ...programs.map(name => [`src/${name}`, `src/${name}.ts`]),
      ...testPrograms.map(name => [`test/${name}`, `test/${name}.ts`]),
    ],
  },
}

/** Left to itself the bundler makes many small chunks. Each costs a millisecond, and parsing costs little. */
const groups = [
  // Before anything else is loaded.
  { name: 'signals', test: /src\/platform\/node-signals/, priority: 1 },
  {
    name: 'base',
    test: /src\/(platform\/(?!command-process)|text\/|config\/|errors|limits|programs)|cli\/(byte-arguments|command-line|output|progress)|\/(commander|valibot|smol-toml)\//,
  },
  { name: 'engine', test: /src\/(database|log|wire|ship|slave|helpers|updates)\// },
]

const name = process.argv[2]
const { root, entries } = targets[name] ?? {}
if (entries === undefined) throw new Error('usage: node scripts/bundle.js dist|build')

const bundle = await rolldown({
  input: Object.fromEntries(entries),
  platform: 'node',
  onLog(level, log) {
    if (level === 'warn') throw new Error(log.message)
  },
})
const { output } = await bundle.write({
  dir: name,
  format: 'esm',
  sourcemap: true,
  comments: { legal: false, annotation: false, jsdoc: false },
  entryFileNames: '[name].js',
  // src/programs.ts counts on it that chunks lie there.
  chunkFileNames: `${root}chunk-[name].js`,
  codeSplitting: { groups },
})
await bundle.close()
refuseSharedPrograms(output)
if (name === 'dist') {
  writeLicenses(output)
  keepPublicTypes()
}

/** A program in a chunk that others load, too, would run in all of them. */
function refuseSharedPrograms(chunks) {
  const sources = new Set(entries.map(([, source]) => path.resolve(source)))
  for (const chunk of chunks) {
    if (chunk.type !== 'chunk' || chunk.isEntry) continue
    const program = chunk.moduleIds.find(id => sources.has(id))
    if (program !== undefined) throw new Error(`${program} is in ${chunk.fileName}: see "groups"`)
  }
}

/** The licenses of what other people wrote and the bundle holds ask to be handed on. */
function writeLicenses(chunks) {
  const modules = chunks.flatMap(chunk => (chunk.type === 'chunk' ? chunk.moduleIds : []))
  const packages = new Set()
  for (const id of modules) {
    const folder = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(id)?.[0]
    if (folder !== undefined) packages.add(folder)
  }
  const texts = [...packages]
    .sort((a, b) => (a < b ? -1 : 1))
    .map(folder => {
      const { name, version, license } = JSON.parse(
        readFileSync(path.join(folder, 'package.json'), 'utf8'),
      )
      const file = readdirSync(folder).find(entry => /^licen[cs]e/i.test(entry))
      const text =
        file === undefined ? license : readFileSync(path.join(folder, file), 'utf8').trim()
      return `${name} ${version}\n\n${text}\n`
    })
  writeFileSync('dist/LICENSES.txt', texts.join(`\n${'-'.repeat(80)}\n\n`))
}

/** Of the declarations, what index.d.ts leads to. A library that is in the bundle is not there for the compiler. */
function keepPublicTypes() {
  const reached = new Set()
  const follow = file => {
    if (reached.has(file)) return
    reached.add(file)
    const imports = /(?:\bfrom|\bimport)[\s(]+'([^']+)'/g
    for (const [, target] of readFileSync(file, 'utf8').matchAll(imports)) {
      if (target.startsWith('.')) {
        follow(path.join(path.dirname(file), target.replace(/\.ts$/, '.d.ts')))
      } else if (!target.startsWith('node:')) {
        throw new Error(`${file} needs ${target}, which is not installed with the package`)
      }
    }
  }
  follow(path.join('dist', 'index.d.ts'))
  for (const entry of readdirSync('dist', { recursive: true })) {
    const file = path.join('dist', entry)
    if (file.endsWith('.d.ts') && !reached.has(file)) rmSync(file)
  }
}
