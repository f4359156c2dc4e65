// npm run test:sim: plays thousands of stories of servers that lose their power, their connections and their
// processes, and checks what must be so whatever happens. The whole program runs in it, master, shipper, slave,
// replayer and helpers, on a world of its own (world/): disk, network, clock, processes and randomness come in
// through the ports of src/platform.
//
//   --seeds N          so many stories (10,000)
//   --from N           the first one (1)
//   --seed N           this one alone, and the last 200 lines of its history (--lines N), with --trace of every
//                      single step
//   --planted NAME     with a bug in the program that must be found; "all" for one after the other
//   --one-in N         where the bug is in one block of so many (1,000)
//   --rate             does not stop when it is found: says in how many stories it is
//
// A seed decides everything (story.ts): the servers, their settings, what applications do (application.ts), what
// befalls them (nemesis.ts, failover.ts). The same seed is the same story to the last byte, so that what was found
// can be found again. What is checked, and against what, is in checker.ts: it shares no code with what it checks.
import { parseArgs } from 'node:util'
import { checkFits, planted, type Planted } from './planted.ts'
import { campaign } from './pool.ts'
import { play } from './story.ts'

const usage =
  'npm run test:sim -- [--seeds N] [--from N] [--seed N [--trace] [--lines N]] [--planted NAME|all [--one-in N] [--rate]]'

function readArguments() {
  try {
    return parseArgs({
      options: {
        seeds: { type: 'string' },
        from: { type: 'string', default: '1' },
        seed: { type: 'string' },
        trace: { type: 'boolean', default: false },
        lines: { type: 'string', default: '200' },
        planted: { type: 'string' },
        'one-in': { type: 'string' },
        rate: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: ${usage}`)
    process.exit(2)
  }
}

const { values } = readArguments()

const failuresShown = 5
/** A planted bug that is not found in so many stories is not found. */
const plantedSeeds = 2000

async function playOne(seed: number): Promise<boolean> {
  const outcome = await play(seed, { traced: values.trace, hashed: true })
  for (const line of outcome.history.slice(-Number(values.lines))) console.log(line)
  console.log(`seed ${seed}: ${outcome.error?.stack ?? 'all is well'}`)
  console.log(`digest ${outcome.digest}, ${outcome.events} events`)
  return outcome.error === null
}

async function playMany(from: number, seeds: number): Promise<boolean> {
  const started = Date.now()
  const failed: number[] = []
  const counts = new Map<string, number>()
  const sums = { played: 0, checks: 0, transactions: 0, worldMs: 0, cpuMs: 0 }
  await campaign({
    from,
    seeds,
    planted: null,
    heard: played => {
      sums.played++
      sums.checks += played.checks
      sums.transactions += played.transactions
      sums.worldMs += played.worldMs
      sums.cpuMs += played.cpuMs
      for (const [kind, count] of Object.entries(played.counts)) {
        counts.set(kind, (counts.get(kind) ?? 0) + count)
      }
      if (played.error !== null) {
        failed.push(played.seed)
        console.log(`seed ${played.seed}: ${played.error}`)
        console.log(`  npm run test:sim -- --seed ${played.seed}`)
      }
      return failed.length < 20
    },
  })
  for (const seed of failed.slice(0, failuresShown)) {
    const { history } = await play(seed, { traced: false, hashed: false })
    console.log(`\nThe end of the history of seed ${seed}:`)
    for (const line of history.slice(-60)) console.log(line)
  }
  const seconds = (Date.now() - started) / 1000
  const { played, checks, transactions, worldMs, cpuMs } = sums
  console.log(`\n${played} stories, ${failed.length} failed, in ${seconds.toFixed(0)} s`)
  console.log(
    `${transactions} transactions, ${checks} checks, ${(worldMs / 3_600_000).toFixed(1)} simulated hours, ${(cpuMs / played).toFixed(1)} ms CPU each`,
  )
  for (const [kind, count] of counts) console.log(`${String(count).padStart(8)}  ${kind}`)
  return failed.length === 0
}

/** Plays stories with the bug, and says how many of them fail. */
async function ratePlanted(bug: Planted): Promise<boolean> {
  const { name } = bug
  checkFits(bug)
  const seeds = Number(values.seeds ?? plantedSeeds)
  let found = 0
  await campaign({
    from: Number(values.from),
    seeds,
    planted: name,
    heard: ({ error }) => {
      if (error !== null) found++
      return true
    },
  })
  console.log(`${name}: in ${found} of ${seeds} stories`)
  return found > 0
}

/** Plays stories until the bug is found: until one fails with it that ends well without. */
async function findPlanted(bug: Planted): Promise<boolean> {
  const { name } = bug
  checkFits(bug)
  let played = 0
  let found: { readonly seed: number; readonly error: string } | null = null
  const started = Date.now()
  await campaign({
    from: Number(values.from),
    seeds: Number(values.seeds ?? plantedSeeds),
    planted: name,
    heard: ({ seed, error }) => {
      played++
      if (error !== null) found ??= { seed, error }
      return found === null
    },
  })
  const { seed, error } = found ?? { seed: 0, error: 'not found' }
  if (found !== null) {
    const without = await play(seed, { traced: false, hashed: false })
    if (without.error !== null) {
      console.log(`${name}: seed ${seed} fails without it, too: ${without.error.message}`)
      return false
    }
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(0)
  console.log(`${name}: in ${played} stories, ${seconds} s (seed ${seed}: ${error})`)
  return found !== null
}

async function main(): Promise<boolean> {
  if (values.planted !== undefined && values.seed === undefined) {
    const wanted = planted.filter(({ name }) => [name, 'all'].includes(values.planted!))
    if (wanted.length === 0) {
      const names = planted.map(({ name }) => name).join(', ')
      console.error(`there is no planted bug "${values.planted}"; there are: ${names}`)
    }
    let all = wanted.length > 0
    if (values['one-in'] !== undefined) process.env['HB_SIM_ONE_IN'] = values['one-in']
    const look = values.rate ? ratePlanted : findPlanted
    for (const bug of wanted) all = (await look(bug)) && all
    return all
  }
  if (values.seed !== undefined) return playOne(Number(values.seed))
  return playMany(Number(values.from), Number(values.seeds ?? 10_000))
}

process.exitCode = (await main()) ? 0 : 1
