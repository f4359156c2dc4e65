// kill -9 of the writing process, the shipper and the slave at random instants, with real processes and real
// TCP. After each round: everything that was acknowledged to the application is on the master, transactions are
// whole, everything reaches the slave, and the digests are equal. The long form (HB_LONG=1) has 50 rounds each.
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { hb, killServer, ok, Pair, startHelper } from '../helpers/servers.ts'

const rounds = process.env['HB_LONG'] === undefined ? 2 : 50
const seed = Number(process.env['HB_SEED'] ?? Date.now() % 1e9)

for (const victim of ['writer', 'shipper', 'slave'] as const) {
  t.test(`kill -9 of the ${victim}, ${rounds} rounds`, { timeout: 30_000 * rounds }, async t => {
    t.comment(`HB_SEED=${seed}`)
    const random = randomNumbers(seed + victim.length)
    const pair = await Pair.make(t)
    await pair.start()
    for (let round = 0; round < rounds; round++) {
      const acknowledged = await writeAndKill(pair, victim, `R${round}`, 1 + random(3000))
      await checkMaster(t, pair, `R${round}`, acknowledged)
      const digests = await pair.digests()
      if (digests.master !== digests.slave) t.equal(digests.slave, digests.master, `round ${round}`)
    }
    t.pass(`${rounds} rounds with equal digests`)
    t.equal((await hb('log', 'verify', '-d', pair.slave)).code, 0)
    t.equal((await hb('log', 'verify', '-d', pair.master)).code, 0)
  })
}

/** Numbers acknowledged so far, by writer. */
type Acknowledged = Map<number, number>

/** Lets a process write until `count` updates are acknowledged, kills the victim, lets it write on, ends it. */
async function writeAndKill(
  pair: Pair,
  victim: string,
  prefix: string,
  count: number,
): Promise<Acknowledged> {
  const acknowledged: Acknowledged = new Map()
  const writer = startHelper('writer-process', pair.master, prefix)
  if (writer.stdout === null) throw new Error('no output')
  const lines = createInterface({ input: writer.stdout })
  let seen = 0
  let target = count
  let reached: () => void = () => {}
  lines.on('line', line => {
    const [who = Number.NaN, number = Number.NaN] = line.split(' ').map(Number)
    acknowledged.set(who, number)
    if (++seen >= target) reached()
  })
  const wait = (more: number) =>
    new Promise<void>(resolve => {
      target = seen + more
      reached = resolve
    })
  await wait(count)
  if (victim !== 'writer') {
    const directory = victim === 'slave' ? pair.slave : pair.master
    await killServer(directory)
    await wait(200) // The application does not notice.
    await ok('start', '-d', directory)
    await wait(200)
  }
  const ended = Promise.all([once(writer, 'exit'), once(lines, 'close')])
  writer.kill('SIGKILL')
  await ended
  return acknowledged
}

async function checkMaster(
  t: Test,
  pair: Pair,
  prefix: string,
  acknowledged: Acknowledged,
): Promise<void> {
  const found = new Map<string, string>()
  for (const line of (await ok('export', '-d', pair.master, 'KILL', 'ITEMS')).split('\n')) {
    if (line === '') continue
    const { id, value } = JSON.parse(line) as { id: string; value: string }
    found.set(id, value)
  }
  for (const [writer, last] of acknowledged) {
    for (let number = 0; number <= last; number++) {
      const id = `${prefix}*${writer}*${number}`
      if (found.get(id) !== `value of ${id}`) t.fail(`${id} was acknowledged and is not there`)
    }
  }
  for (const [id, value] of found) {
    if (id.endsWith('*TWIN')) continue
    const whole = Number(id.split('*')[2]) % 7 !== 3 || found.get(`${id}*TWIN`) === `twin of ${id}`
    if (!whole || value !== `value of ${id}`) t.fail(`${id} is half a transaction`)
  }
}

function randomNumbers(start: number): (limit: number) => number {
  let state = start >>> 0
  return limit => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}
