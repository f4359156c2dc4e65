// kill -9 of the writing process, the shipper and the slave at random instants, with real processes and real
// TCP. After each round: everything that was acknowledged to the application is on the master, transactions are
// whole, everything reaches the slave, and the digests are equal. The long form (HB_LONG=1) has 50 rounds each.
import t, { type Test } from 'tap'
import { long } from '../helpers/long-form.ts'
import { hb, killServer, ok, Pair, startAlone } from '../helpers/servers.ts'
import { brokenItems, Traffic, writtenItems } from '../helpers/traffic.ts'

const rounds = long ? 50 : 2
const seed = Number(process.env['HB_SEED'] ?? Date.now() % 1e9)

/** What has been written is looked through in each round. */
const roundsPerPair = 10

for (const victim of ['writer', 'shipper', 'slave'] as const) {
  t.test(`kill -9 of the ${victim}, ${rounds} rounds`, { timeout: 60_000 * rounds }, async t => {
    t.comment(`HB_SEED=${seed}`)
    const random = randomNumbers(seed + victim.length)
    for (let first = 0; first < rounds; first += roundsPerPair) {
      const pair = await Pair.make(t)
      await pair.start()
      for (let round = first; round < Math.min(first + roundsPerPair, rounds); round++) {
        const acknowledged = await writeAndKill(pair, victim, `R${round}`, 1 + random(3000))
        await checkMaster(t, pair, acknowledged)
        const { master, slave } = await pair.digests()
        if (master !== slave) t.equal(slave, master, `round ${round}`)
      }
      for (const directory of [pair.slave, pair.master]) {
        t.equal((await hb('log', 'verify', '-d', directory)).code, 0)
        await ok('stop', '-d', directory)
      }
    }
    t.pass(`${rounds} rounds with equal digests`)
  })
}

/** Lets a process write until `count` updates are acknowledged, kills the victim, lets it write on, ends it. */
async function writeAndKill(
  pair: Pair,
  victim: string,
  prefix: string,
  count: number,
): Promise<string[]> {
  const traffic = Traffic.start(pair.master, prefix)
  await traffic.more(count)
  if (victim !== 'writer') {
    const directory = victim === 'slave' ? pair.slave : pair.master
    await killServer(directory)
    await traffic.more(200) // The application does not notice.
    await startAlone(directory)
    await traffic.more(200)
  }
  await traffic.kill()
  return traffic.ids
}

async function checkMaster(t: Test, pair: Pair, acknowledged: readonly string[]): Promise<void> {
  const found = await writtenItems(pair.master)
  for (const id of acknowledged) {
    if (!found.has(id)) t.fail(`${id} was acknowledged and is not there`)
  }
  for (const id of brokenItems(found)) t.fail(`${id} is half a transaction`)
}

function randomNumbers(start: number): (limit: number) => number {
  let state = start >>> 0
  return limit => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}
