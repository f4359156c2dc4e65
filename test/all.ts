// "npm test": every test file in a process of its own, without the hooks that tap puts into each process for the sake
// of coverage. Those cost more than most commands take. "npm run coverage" has them.
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { long } from './helpers/long-form.ts'

const here = import.meta.dirname
/** Not tests, but what tests are made of; types are checked when they are compiled. */
const parts = /^(all\.js$|(helpers|sim|types|fixtures)\/)/
/** The longest first, so that none is left to run alone. */
const first = ['simulation', 'e2e/']

const rank = (file: string) => {
  const found = first.findIndex(start => file.startsWith(start))
  return found < 0 ? first.length : found
}
const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.js') && !parts.test(file))
  .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))

const timeout = (long ? 14_400 : 600) * 1000
t.setTimeout(timeout * files.length)
t.jobs = availableParallelism()
for (const file of files) {
  // tap adds its hooks to NODE_OPTIONS.
  const args = [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    '--enable-source-maps',
    path.join(here, file),
  ]
  void t.spawn('env', args, { timeout, buffered: true }, file)
}
