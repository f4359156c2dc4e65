// The drill, again and again, with the roles changing each time: while an application writes, everything of the
// master is killed -9 (with the slave, sometimes), the slave is promoted, the old master rejoins; the commands are
// killed, too, at random, and given again. After each round: what was acknowledged is on the new master or among the
// missing updates, and both sides are equal. The long form (HB_LONG=1) has 40 rounds.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { long } from '../helpers/long-form.ts'
import { freePort, hb, ok, Pair, running, statusOf } from '../helpers/servers.ts'
import { Traffic } from '../helpers/traffic.ts'

const rounds = long ? 40 : 2
const seed = Number(process.env['HB_SEED'] ?? Date.now() % 1e9)
let state = seed >>> 0
function random(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 2 ** 32) * limit)
}

/** Lets a process write until so many updates are acknowledged; then kills it and the server. Returns what was. */
async function writeAndKill(
  directory: string,
  prefix: string,
  count: number,
): Promise<readonly string[]> {
  const traffic = Traffic.start(directory, prefix)
  await traffic.more(count)
  const { pid } = await statusOf(directory)
  // Either of them may outlive the other for a moment.
  const kills = [() => traffic.process.kill('SIGKILL'), () => pid !== null && killIfThere(pid)]
  if (random(2) === 0) kills.reverse()
  for (const kill of kills) kill()
  await traffic.ended()
  return traffic.ids
}

const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname

/** It may have ended by itself. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Gives a command, kills it, or the server that does it, after a moment, by chance, and gives it again. */
async function insist(server: number | null, ...args: string[]): Promise<void> {
  if (random(2) === 0) {
    const child = spawn(process.execPath, [cli, ...args], { stdio: 'ignore' })
    const timer = setTimeout(
      () => {
        if (server === null) child.kill('SIGKILL')
        else killIfThere(server)
      },
      120 + random(250),
    )
    await once(child, 'exit')
    clearTimeout(timer)
  }
  const { code, stderr } = await hb(...args)
  // The one that was killed may have done it.
  if (code !== 0 && !/ERR_WRONG_TYPE/.test(stderr)) throw new Error(`${args.join(' ')}: ${stderr}`)
}

function idsIn(lines: string, key: 'id'): string[] {
  return lines
    .split('\n')
    .filter(line => line !== '')
    .map(line => (JSON.parse(line) as Record<'id', string>)[key])
}

t.test(`${rounds} rounds`, { timeout: 60_000 * rounds }, async t => {
  t.comment(`HB_SEED=${seed}`)
  const pair = await Pair.make(t)
  const ports = { alpha: await freePort(), beta: pair.port }
  await pair.start()
  let [master, slave] = [
    { directory: pair.master, port: ports.alpha },
    { directory: pair.slave, port: ports.beta },
  ]
  for (let round = 0; round < rounds; round++) {
    const acknowledged = await writeAndKill(master.directory, `R${round}`, 500 + random(4000))
    if (random(2) === 0) {
      const { pid: victim } = await statusOf(slave.directory)
      if (victim !== null) killIfThere(victim)
    }
    const { pid } = await statusOf(slave.directory)
    await insist(random(2) === 0 ? pid : null, 'promote', '-d', slave.directory)
    await running(slave.directory)
    const from = `127.0.0.1:${slave.port}`
    const listen = `127.0.0.1:${master.port}`
    await insist(null, 'rejoin', '-d', master.directory, '--from', from, '--listen', listen)
    await running(master.directory)
    ;[master, slave] = [slave, master]

    await ok('wait', '-d', master.directory, '--timeout', '60')
    const [ours, theirs] = [
      await ok('digest', '-d', master.directory),
      await ok('digest', '-d', slave.directory),
    ]
    if (ours !== theirs) t.equal(theirs, ours, `round ${round}`)
    const kept = new Set(idsIn(await ok('export', '-d', master.directory, 'KILL', 'ITEMS'), 'id'))
    const saved = path.join(slave.directory, 'missing-updates')
    const lists = existsSync(saved)
      ? readdirSync(saved).filter(name => name.endsWith('.jsonl'))
      : []
    for (const name of lists) {
      for (const id of idsIn(readFileSync(path.join(saved, name), 'utf8'), 'id')) kept.add(id)
    }
    const lost = acknowledged.filter(id => !kept.has(id))
    if (lost.length > 0) t.fail(`round ${round}: ${lost.length} are nowhere: ${lost[0]}`)
  }
  t.pass('both sides were equal each time, and nothing that was acknowledged was lost')
})
