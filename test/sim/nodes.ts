// The servers of a world: a directory on a machine of its own each, and what keeps its server running, as a service
// manager does. What the processes do is the real program.
import type { Database } from '../../src/database/database.ts'
import { isHotBackupError, type HotBackupError } from '../../src/errors.ts'
import { parseOrder } from '../../src/helpers/messages.ts'
import { doWork } from '../../src/helpers/work.ts'
import type { Disk } from '../../src/platform/disk.ts'
import type { Platform } from '../../src/platform/platform.ts'
import { decodeRole } from '../../src/config/role.ts'
import { setup } from '../../src/config/setup.ts'
import { layoutOf, type Layout } from '../../src/config/layout.ts'
import type { Log } from '../../src/config/messages-log.ts'
import { ShipperServer } from '../../src/server/shipper-server.ts'
import { SlaveServer } from '../../src/server/slave-server.ts'
import type { CommitLevel } from '../../src/config/policies.ts'
import { databaseBehind, databasesBehind, serverDirectory, writersBehind } from './probe.ts'
import type { Machine } from './world/machine.ts'
import { isOfDead, type SimProcess } from './world/process.ts'
import type { World } from './world/world.ts'

export interface NodeSettings {
  readonly type: 'master' | 'slave'
  readonly slaves: readonly string[]
  /** What its applications are promised that ask for no level. */
  readonly commitLevel: CommitLevel
  /** Lines of hb.toml by table. */
  readonly tables: Readonly<Record<string, readonly string[]>>
}

/** What a service manager waits before it starts a server again. */
const restartMs = 300

export class Node {
  readonly name: string
  readonly machine: Machine
  readonly layout: Layout
  readonly address: string
  /** An operator is at work on it: the service manager keeps out. */
  attended = false
  /** Those in which its slave's servers had their databases. */
  readonly #disks: Disk[] = []
  /** It becomes a slave again, and may give up what it holds. */
  comingBack = false
  /** It has another history than its slaves: nothing of it may be sent to them. */
  mustNotSend = false
  /** Something has been damaged: errors that tell of damage are expected. */
  damaged = false
  /** The last error that told of damage. */
  damageTold: string | null = null
  /** Somebody has given up what a slave holds, and it needs a copy. */
  copiesExpected = false
  /** Its server has asked its operator to complete a promotion. */
  promotionAsked = false
  /** It has asked for a copy that only an operator may order. */
  copyAsked = false
  /** Its disk was set back: what was heard from it before says nothing of it now. */
  wasSetBack = false
  #settings: NodeSettings | null = null

  constructor(world: World, index: number) {
    this.name = 'abcdef'[index]!
    this.machine = world.machine(this.name)
    this.layout = layoutOf(serverDirectory)
    this.address = `127.0.0.1:${2001 + index}`
  }

  get commitLevel(): CommitLevel {
    return this.#settings?.commitLevel ?? 'local'
  }

  get world(): World {
    return this.machine.world
  }

  /** The process of its server, while it has one. */
  get service(): SimProcess | null {
    return this.processNamed('hb-shipper') ?? this.processNamed('hb-slave')
  }

  processNamed(name: string): SimProcess | null {
    for (const process of this.machine.processes) if (process.name === name) return process
    return null
  }

  /** The database that is open for updates, and whether by a slave's server. */
  get database(): { readonly database: Database; readonly replica: boolean } | null {
    const replica = this.type === 'slave'
    const process = this.processNamed(replica ? 'hb-slave' : 'app')
    const platform = process === null ? null : this.machine.platformOf(process)
    const database = platform === null ? null : databaseBehind(platform.disk)
    return database === null ? null : { database, replica }
  }

  /** A process that does one thing, like a command. `work` must not outlive it. */
  async command<T>(
    name: string,
    work: (platform: Platform, process: SimProcess) => Promise<T>,
  ): Promise<T | 'died'> {
    if (this.machine.down) return 'died'
    const { process, platform } = this.machine.spawn(name)
    const died = new Promise<'died'>(resolve => process.onEnd(() => resolve('died')))
    try {
      return await Promise.race([died, work(platform, process)])
    } catch (error) {
      if (process.dead || isOfDead(error)) return 'died'
      throw error
    } finally {
      process.end(0, null)
    }
  }

  /** Makes the directory, as if long ago. False when it could not. */
  async make(settings: NodeSettings, others: readonly Node[]): Promise<boolean> {
    this.#settings = settings
    const addressOf = (name: string) => others.find(node => node.name === name)?.address ?? ''
    const made = await this.command('setup', async platform => {
      const { type, slaves, tables } = settings
      await setup(platform, this.layout.directory, {
        type,
        name: this.name,
        key: false,
        listen: this.address,
        slaves: slaves.map(name => `${name}=${addressOf(name)}`),
        applyUpdates: true,
        // A slave that hands on updates to slaves of its own does so after a failover, too, if nobody stops it.
        logSlaveUpdates: type === 'slave' && slaves.length > 0,
        autoCreate: false,
      })
      const file = this.machine.disk.file(this.layout.config)
      if (file === null) throw new TypeError('setup has made no hb.toml')
      const level = [`level = "${settings.commitLevel}"`]
      const all = { ...tables, commit: [...(tables['commit'] ?? []), ...level] }
      const text = withTables(file.bytes.toString('utf8', 0, file.size), all)
      file.truncate(0)
      file.write(Buffer.from(text), 0)
    })
    this.machine.disk.settle()
    return made !== 'died'
  }

  /** It has lost its disk, gets a new one after some time, and is set up as in the beginning. */
  async comesBackEmpty(others: readonly Node[], afterMs: number): Promise<void> {
    const { machine, world } = this
    this.attended = true
    machine.powerFails('all')
    this.#disks.length = 0
    for (let made = false; !made;) {
      machine.disk.wipe()
      await new Promise<void>(resolve => {
        world.scheduler.after(afterMs, null, resolve)
      })
      machine.boots()
      made = await this.make(this.#settings!, others).catch((error: unknown) => {
        if (!isHotBackupError(error)) throw error
        return false
      })
    }
    this.attended = false
  }

  /** Its disk has again what it had before; `back` makes it so. */
  comesBackAsBefore(back: () => void): void {
    this.wasSetBack = true
    this.machine.powerFails('all')
    this.#disks.length = 0
    back()
    this.machine.boots()
  }

  /** Its operator edits hb.toml: as a slave it has no slaves of its own, since they all follow the new master. */
  handsOnNothing(): void {
    const file = this.machine.disk.file(this.layout.config)
    const text = file?.bytes.toString('utf8', 0, file.size) ?? ''
    const changed = text.replace('log_slave_updates = true', 'log_slave_updates = false')
    if (file === null || changed === text) return
    file.truncate(0)
    file.write(Buffer.from(changed), 0)
    file.sync()
  }

  /** Hexadecimal; empty while it has none. */
  get serverId(): string {
    const file = this.machine.disk.file(this.layout.serverId)
    return file?.bytes.toString('latin1', 0, file.size).trim() ?? ''
  }

  get type(): 'master' | 'slave' {
    const file = this.machine.disk.file(this.layout.role)
    const text = file?.bytes.toString('utf8', 0, file.size) ?? ''
    return decodeRole(text)?.type ?? 'slave'
  }

  /** Keeps its server running until the world ends. */
  keepRunning(): void {
    this.world.scheduler.after(restartMs * this.world.random.fraction(), null, () => {
      if (this.machine.down || this.attended || this.service !== null) this.keepRunning()
      else this.#start()
    })
  }

  #start(): void {
    const name = this.type === 'master' ? 'hb-shipper' : 'hb-slave'
    const { process, exited } = this.machine.run(name, ['-d', this.layout.directory])
    void exited.then(({ code, signal }) => {
      this.world.note(`${this.name}: ${name} ${process.pid} has ended: ${code ?? signal}`)
      this.keepRunning()
    })
  }

  /** A slave's server begins. */
  begins(disk: Disk): void {
    this.#disks.push(disk)
  }

  /** The last transaction that readers of the slave have ever seen. */
  get appliedTxn(): number {
    const databases = this.#disks.flatMap(databasesBehind)
    return databases.reduce((last, { appliedTxn }) => Math.max(last, appliedTxn), 0)
  }

  /** The last transaction that its slave's servers have ever received. */
  get receivedTxn(): number {
    const writers = this.#disks.flatMap(writersBehind)
    return writers.reduce((last, { lastTxn }) => Math.max(last, lastTxn), 0)
  }

  /** Its log and database are being replaced or cut back; the next start goes on with that. */
  get inFlux(): boolean {
    const { seed, rejoin } = this.layout
    return [`${seed}/COMPLETE`, rejoin].some(path => this.machine.disk.find(path) !== null)
  }

  say(process: SimProcess): Log {
    return (level, message, fields = {}) => {
      if (process.dead || level === 'debug') return
      if (level === 'error' && this.damaged) this.damageTold = message
      if (fields['difference'] === true && !this.damaged) {
        this.world.fail(new Error(`${this.name}: ${message}: nothing has been damaged`))
      }
      if (this.mustNotSend && /^link to .*: streaming/.test(message)) {
        this.world.fail(new Error(`${this.name}: ${message}, to a slave with another history`))
      }
      if (/needs an order by "hb seed"/.test(message)) this.copyAsked = true
      if (/copy of the database is made for/.test(message) && !this.copiesExpected) {
        this.world.fail(new Error(`${this.name}: ${message}, and nobody has lost anything`))
      }
      this.world.note(`${this.name}: ${process.name} ${process.pid} ${level}: ${message}`)
    }
  }
}

/** Puts tables with their lines into the text, instead of those that are there. */
function withTables(text: string, tables: Readonly<Record<string, readonly string[]>>): string {
  let result = text
  for (const [table, lines] of Object.entries(tables)) {
    const keys = lines.map(line => line.split(' = ')[0])
    const start = result.indexOf(`\n[${table}]\n`)
    if (start < 0) {
      const at = result.indexOf('\n[')
      result = `${result.slice(0, at)}\n[${table}]\n${lines.join('\n')}\n${result.slice(at)}`
      continue
    }
    const after = start + table.length + 4
    const next = result.indexOf('\n[', after)
    const end = next < 0 ? result.length : next
    const kept = result
      .slice(after, end)
      .split('\n')
      .filter(line => !keys.includes(line.split(' = ')[0]))
    result = `${result.slice(0, after)}${lines.join('\n')}\n${kept.join('\n')}${result.slice(end)}`
  }
  return result
}

interface RunningServer {
  stop(): Promise<void>
  readonly promoted?: Promise<HotBackupError | null>
  readonly reseeded?: Promise<void>
  readonly reopen?: Promise<void>
}

type Start = typeof SlaveServer.start | typeof ShipperServer.start

/** The programs of this package that a machine can start. */
export function installPrograms(world: World, nodeOf: (process: SimProcess) => Node): void {
  const serve =
    (...starts: readonly [Start, Start]) =>
    (process: SimProcess, platform: Platform) =>
      serveUntilEnd(nodeOf(process), process, platform, starts)
  const shipper: Start = (...args) => ShipperServer.start(...args)
  const slave: Start = (...args) => SlaveServer.start(...args)
  world.programs.set('hb-shipper', serve(shipper, shipper))
  world.programs.set('hb-slave', serve(slave, shipper))
  world.programs.set('helper-process', async (_process, platform, [order], say) => {
    await doWork(platform, parseOrder(order ?? ''), answer => say(JSON.stringify(answer)))
    return 0
  })
}

/** The life of a server's process: as in src/cli/foreground.ts, which is made for a terminal. */
async function serveUntilEnd(
  node: Node,
  process: SimProcess,
  platform: Platform,
  [start, successor]: readonly [Start, Start],
): Promise<number> {
  const say = node.say(process)
  node.begins(platform.disk)
  const terminated = new Promise<'SIGTERM'>(resolve => {
    process.onTerminate = () => resolve('SIGTERM')
  })
  const begin = (how: Start): Promise<RunningServer> =>
    how(platform, node.layout.directory, say, () => {})
  try {
    let server = await begin(start)
    let reason = await next(server, terminated)
    while (reason === 'reseeded' || reason === 'reopen') {
      await server.stop().catch((error: unknown) => say('warn', `closing: ${String(error)}`))
      server = await begin(start)
      reason = await next(server, terminated)
    }
    if (reason instanceof Error) {
      await server.stop()
      throw reason
    }
    if (reason === 'promoted') {
      await server.stop()
      server = await begin(successor)
      await terminated
    }
    await server.stop()
    return 0
  } catch (error) {
    if (process.dead) return 1
    say('error', `it ends: ${String(error)}`)
    if (isHotBackupError(error, 'ERR_PROMOTING')) node.promotionAsked = true
    checkExpected(node, error)
    return 1
  }
}

function next(
  { promoted, reseeded, reopen }: RunningServer,
  terminated: Promise<'SIGTERM'>,
): Promise<'SIGTERM' | 'promoted' | 'reseeded' | 'reopen' | Error> {
  const never = new Promise<never>(() => {})
  return Promise.race([
    terminated,
    (promoted ?? never).then(error => error ?? ('promoted' as const)),
    (reseeded ?? never).then(() => 'reseeded' as const),
    (reopen ?? never).then(() => 'reopen' as const),
  ])
}

/** No crash and no fault of a disk or network may look like damage, or be met by a mistake of the program. */
export function checkExpected(node: Node, error: unknown): void {
  if (isOfDead(error)) return
  if (!isHotBackupError(error)) {
    node.world.fail(error)
    return
  }
  const { code } = error
  const damage = [
    'ERR_LOG_CORRUPT',
    'ERR_DATABASE_CORRUPT',
    'ERR_GROUP_DAMAGED',
    'ERR_LOG_VERSION',
    'ERR_CONFIG',
    'ERR_ROLE',
  ]
  if (!damage.includes(code)) return
  if (node.damaged) node.damageTold = error.message
  else {
    node.world.fail(new Error(`${node.name}: ${code} without any damage: ${error.message}`))
  }
}
