// What the programs load before they do anything, in the bundles that are published (scripts/bundle.js): the time that
// a short command takes is the time that loading takes.
import { readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

const bundles = new URL('../../src/', import.meta.url).pathname

/** The file and all that it imports at once, directly or through others. */
function loadedWith(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found
  found.add(file)
  const imports = /^import (?:[^'";]*? from )?["'](\.[^"']+)["']/gm
  for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(imports)) {
    loadedWith(path.resolve(path.dirname(file), target), found)
  }
  return found
}

function loading(name: string) {
  const files = [...loadedWith(path.join(bundles, name))]
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0)
  return { names: files.map(file => path.basename(file)), kilobytes: Math.round(bytes / 1000) }
}

t.test('hb loads no more than what all commands need', t => {
  const { names, kilobytes } = loading('cli/hb.js')
  t.ok(names.includes('chunk-base.js') && names.length < 6, names.join())
  t.ok(kilobytes < 300, `${kilobytes} KB`)
  const base = readFileSync(path.join(bundles, 'chunk-base.js'), 'utf8')
  for (const library of ['chokidar', 'proper-lockfile', 'pino', '@clack']) {
    t.notMatch(base, `// node_modules/${library}/`, library)
  }
  t.end()
})

t.test('a command loads its part, and a database that is written when it writes', t => {
  const most = { commands: 450, 'status-engine': 650, reader: 700 }
  for (const [name, kilobytesMax] of Object.entries(most)) {
    const { names, kilobytes } = loading(`chunk-${name}.js`)
    t.notOk(names.includes('chunk-engine.js'), name)
    t.ok(kilobytes < kilobytesMax, `${name}: ${kilobytes} KB`)
  }
  t.end()
})
