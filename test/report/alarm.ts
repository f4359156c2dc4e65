// Who is told when something is wrong: the operator's command, and what it is told.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { type AlarmPolicy } from '../../src/config/policies.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import type { CommandOptions } from '../../src/platform/processes.ts'
import { Alarm } from '../../src/report/alarm.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { TestClock } from '../helpers/test-clock.ts'

const policy: AlarmPolicy = { command: 'tell', level: 'error', afterMs: 60_000, timeoutMs: 5000 }

/** Commands that end when the test says so. */
class World {
  readonly clock = new TestClock()
  readonly runs: { readonly command: string; readonly options: CommandOptions }[] = []
  readonly logged: string[] = []
  #end: (failure: string | null) => void = () => {}

  readonly processes = {
    runCommand: (command: string, options: CommandOptions): Promise<string | null> => {
      this.runs.push({ command, options })
      return new Promise(resolve => {
        this.#end = resolve
      })
    },
  }

  alarm(alarm: AlarmPolicy): Alarm {
    const policyNow = () => alarm
    return new Alarm(this, layoutOf('/srv/north'), 'north', policyNow, (level, message) => {
      this.logged.push(`${level} ${message}`)
    })
  }

  async end(failure: string | null): Promise<void> {
    this.#end(failure)
    await new Promise(resolve => setImmediate(resolve))
  }

  told(): string[] {
    return this.runs.map(({ options }) => options.input.replaceAll(/^\S+ /gm, ''))
  }
}

t.test('what is said while the command runs gathers for the next run', async t => {
  const world = new World()
  const { say } = world.alarm(policy)
  say('warn', 'the link broke')
  say('error', 'first', { txn: 7 })
  for (let n = 1; n <= 103; n++) say('error', `message ${n}`)
  t.strictSame(world.told(), ['error north: first txn=7\n'], 'one command at a time')
  t.match(world.runs[0], {
    command: 'tell',
    options: { environment: { HB_DIR: '/srv/north', HB_SERVER: 'north' }, timeoutMs: 5000 },
  })
  await world.end(null)
  const lines = world.told()[1]?.trimEnd().split('\n') ?? []
  t.equal(lines.length, 101)
  t.equal(lines[99], 'error north: message 100')
  t.match(world.runs[1]?.options.input, /and 3 more: see "hb status -d \/srv\/north"\n$/)
  await world.end('ended with exit status 1')
  t.equal(world.runs.length, 2, 'nothing more to tell, least of all of that failure')
  t.equal(world.logged.length, 106)
  t.equal(world.logged.at(-1), 'warn the alarm command ended with exit status 1')
  say('error', 'later')
  t.equal(world.told().at(-1), 'error north: later\n')
})

t.test(
  'warnings are told when that is wanted; the end tells at once what has gathered',
  async t => {
    const world = new World()
    const alarm = world.alarm({ ...policy, level: 'warn' })
    alarm.say('info', 'ready')
    alarm.say('warn', 'the link broke')
    alarm.say('error', 'the lock is lost')
    alarm.end()
    t.strictSame(world.told(), ['warn north: the link broke\n', 'error north: the lock is lost\n'])

    const quiet = new World()
    const nobody = quiet.alarm({ ...policy, command: null })
    nobody.say('error', 'nobody hears')
    nobody.end()
    t.strictSame(quiet.runs, [])
    t.strictSame(quiet.logged, ['error nobody hears'])
  },
)

t.test('the same message is sent again after an hour, with a count', async t => {
  const world = new World()
  const { say } = world.alarm({ ...policy, level: 'warn' })
  const told = async () => {
    const inputs = world.told()
    world.runs.length = 0
    await world.end(null)
    return inputs
  }
  for (let times = 0; times < 14; times++) say('error', 'the log is not in order', { times })
  say('warn', 'the log is not in order')
  t.strictSame(await told(), ['error north: the log is not in order times=0\n'])
  t.strictSame(await told(), ['warn north: the log is not in order\n'], 'of another level')
  t.strictSame(await told(), [])
  t.equal(world.logged.length, 15, 'messages.log has them all')
  await world.clock.advance(3_600_000, 600_000)
  say('error', 'the log is not in order')
  t.strictSame(await told(), ['error north: the log is not in order (repeated 13 times)\n'])
  say('error', 'the log is not in order')
  say('info', 'south follows again', { alarm: true })
  say('error', 'a link broke', { alarm: false })
  t.strictSame(await told(), ['info north: south follows again\n'], 'who raises it decides')
  say('info', 'south follows again', { alarm: true })
  t.strictSame(await told(), ['info north: south follows again\n'], 'and when it is news')
  say('error', 'an item \u001b[2J\nsouth follows')
  t.match(await told(), [/^error north: an item \\u001b\[2J\\u000asouth follows\n$/])
})

t.test('real commands: told, failing, and never ending', async t => {
  const directory = mkdtempSync(path.join(tmpdir(), 'hb-alarm-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const { processes } = nodePlatform
  const file = path.join(directory, 'told')
  const input = "it's $HOME\n".repeat(8000)
  const run = (command: string, timeoutMs = 60_000) =>
    processes.runCommand(command, { input, environment: { FILE: file }, timeoutMs })
  const check = async () => {
    t.equal(await run('cat > "$FILE"; echo $PPID > "$FILE.parent"'), null)
    t.equal(readFileSync(file, 'utf8'), input)
    t.equal(await run('exit 3'), 'ended with exit status 3')
    t.equal(await run('kill -9 $$'), 'was ended by SIGKILL')
    t.equal(await run('sleep 61.7; true', 300), 'was killed after 0.3 s')
    return readFileSync(`${file}.parent`, 'utf8').trim() === String(process.pid)
  }
  t.equal(await check(), true, 'by this process')
  const end = processes.prepare()
  t.equal(await check(), false, 'by a small one')
  // The last word of a process that ends.
  const last = `import { nodeProcesses } from '${new URL('../../src/platform/node-processes.js', import.meta.url).href}'
    nodeProcesses.prepare()
    void nodeProcesses.runCommand('cat > "$FILE"', ${JSON.stringify({
      input: 'farewell',
      environment: { FILE: file },
      timeoutMs: 60_000,
    })})
    process.exit(0)`
  rmSync(file)
  execFileSync(process.execPath, ['--input-type=module', '-e', last])
  while (!existsSync(file) || readFileSync(file, 'utf8') !== 'farewell') {
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  end()
})
