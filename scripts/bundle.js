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

/**
 * Left to itself the bundler makes many small chunks, each of which costs a millisecond. Here a chunk is what the same of
 * these parts load at once, directly or through others: so a command parses no more than it needs. What "base" loads is
 * in its chunk alone, since every command has it.
 */
const parts = {
  // Before anything else is loaded.
  signals: ['platform/node-signals'],
  base: ['cli/command-line', 'cli/program'],
  commands: readdirSync('src/cli')
    .filter(file => /-commands?\.ts$/.test(file))
    .map(file => `cli/${path.basename(file, '.ts')}`),
  status: ['report/status', 'cli/status-text'],
  reader: ['server/local-access'],
  engine: ['server/master', 'server/slave-server', 'server/shipper-server'],
}

const name = process.argv[2]
const { root, entries } = targets[name] ?? {}
if (entries === undefined) throw new Error('usage: node scripts/bundle.js dist|build')

/** By module. */
const chunkOf = new Map()

const bundle = await rolldown({
  input: Object.fromEntries(entries),
  platform: 'node',
  plugins: [{ name: 'parts', buildEnd: findChunks }],
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
  codeSplitting: {
    // What more of them share comes first: a group takes along all that its modules load and nothing has taken yet.
    groups: sharings().map((name, index, { length }) => ({
      name,
      priority: length - index,
      test: id => chunkOf.get(id) === name,
    })),
  },
})
await bundle.close()
refuseSharedPrograms(output)
if (name === 'dist') {
  writeLicenses(output)
  keepPublicTypes()
}

/** The names of all chunks that there may be: parts alone or with each other. */
function sharings() {
  const [signals, base, ...others] = Object.keys(parts)
  let sets = [[]]
  for (const part of others) sets = [...sets, ...sets.map(set => [...set, part])]
  const shared = sets.filter(set => set.length > 0).sort((a, b) => b.length - a.length)
  return [signals, base, ...shared.map(set => set.join('-'))]
}

/** Called by the bundler when it knows all modules. */
function findChunks() {
  for (const [part, names] of Object.entries(parts)) {
    const reached = new Set()
    const enter = id => {
      if (reached.has(id) || this.getModuleInfo(id) === null) return
      reached.add(id)
      this.getModuleInfo(id).importedIds.forEach(enter)
    }
    for (const name of names) {
      const id = path.resolve(`src/${name}.ts`)
      if (this.getModuleInfo(id) === null) throw new Error(`${id} is in no program`)
      enter(id)
    }
    for (const id of reached) {
      const others = chunkOf.get(id)
      if (others === undefined) chunkOf.set(id, part)
      else if (others !== 'signals' && others !== 'base') chunkOf.set(id, `${others}-${part}`)
    }
  }
}

/** A program in a chunk that others load, too, would run in all of them. */
function refuseSharedPrograms(chunks) {
  const sources = new Set(entries.map(([, source]) => path.resolve(source)))
  for (const chunk of chunks) {
    if (chunk.type !== 'chunk' || chunk.isEntry) continue
    const program = chunk.moduleIds.find(id => sources.has(id))
    if (program !== undefined) throw new Error(`${program} is in ${chunk.fileName}: see "parts"`)
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
