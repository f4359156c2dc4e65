// Loads every module of the package, so that one which nothing else reaches still has to be sound, and counts
// as uncovered. Not the commands themselves: those run when they are loaded.
import { readFileSync, readdirSync } from 'node:fs'
import t from 'tap'

const source = new URL('../src/', import.meta.url)
const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: Record<string, string> }
const commands = new Set(Object.values(bin).map(path => path.replace(/^\.\/dist\//, '')))

for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' }).sort()) {
  if (!file.endsWith('.js') || commands.has(file) || file.endsWith('-process.js')) continue
  if (file.startsWith('chunk-')) continue // Of the bundle.
  await t.resolves(import(new URL(file, source).href), file)
}
