// One story: a seed decides which servers there are, what the applications do, and what befalls them; in the end
// everything is whole again, and must come into step.
// Here beforehand: loading it when it is needed would take time of this world, as long as it lasts.
import '../../src/server/local-access.ts'
import { isHotBackupError } from '../../src/errors.ts'
import { Application, type Manners } from './application.ts'
import { Checker, difference, Violation } from './checker.ts'
import { Failover } from './failover.ts'
import { Nemesis } from './nemesis.ts'
import { installPrograms, Node, type NodeSettings } from './nodes.ts'
import { Operator } from './operator.ts'
import type { Loss } from './world/disk.ts'
import { isOfDead } from './world/process.ts'
import { SeededRandom } from './world/random.ts'
import { World, type WorldOptions } from './world/world.ts'

export interface Outcome {
  readonly seed: number
  readonly error: Error | null
  readonly history: readonly string[]
  readonly digest: string
  readonly counts: ReadonlyMap<string, number>
  readonly checks: number
  readonly transactions: number
  readonly events: number
  readonly worldMs: number
}

const bounds = { ms: 3_000_000, events: 120_000 }
/** Within this everything is in step again. */
const calmMs = 400_000
const lookMs = 100
/** Between two updates of an application. */
const calmPauseMs = 400

/** Plays the story of a seed. Never rejects. */
export async function play(seed: number, options: WorldOptions): Promise<Outcome> {
  const world = new World(seed, options)
  const story = new Story(world)
  const unhandled = (error: unknown) => {
    if (!isOfDead(error)) world.fail(error)
  }
  process.on('unhandledRejection', unhandled)
  let error: Error | null = null
  try {
    const told = Promise.race([story.tell(), world.failed])
    await world.scheduler.play(told, bounds)
  } catch (caught) {
    error = caught instanceof Error ? caught : new Error(String(caught))
  }
  process.off('unhandledRejection', unhandled)
  const { checker } = story
  const transactions = checker.histories().reduce((sum, { last, fork }) => sum + last - fork, 0)
  return {
    seed,
    error,
    history: world.history,
    digest: world.digest(),
    counts: world.counts,
    checks: checker.checks,
    transactions,
    events: world.scheduler.taken,
    worldMs: world.scheduler.now,
  }
}

export class Story {
  readonly world: World
  readonly random: SeededRandom
  readonly checker = new Checker()
  readonly nodes: Node[] = []
  /** Who sends to a node. */
  readonly upstream = new Map<Node, Node>()
  /** Where the applications go. */
  master!: Node
  readonly operator: Operator
  readonly #manners: Manners
  readonly #failover: boolean
  /** Nothing befalls anybody any more, and the applications do little. */
  calm = false
  readonly #applications = new Map<Node, Application>()
  #over = false

  constructor(world: World) {
    this.world = world
    this.random = new SeededRandom(world.seed, 'story')
    const { random } = this
    this.#failover = random.chance(0.35)
    const levels = random.chance(0.3) ? ([undefined, 'durable', 'applied'] as const) : [undefined]
    this.#manners = {
      pauseMs: random.pick([10, 30, 80]),
      itemBytes: random.pick([300, 3000, 20_000]),
      levels,
      // What is not replicated is not taken over.
      localFiles: !this.#failover && random.chance(0.2),
      longPart: random.pick([0.02, 0.06, 0.15]),
    }
    this.operator = new Operator(this)
    installPrograms(world, process => this.nodeOf(process))
  }

  nodeOf(process: unknown): Node {
    const node = this.nodes.find(({ machine }) => [...machine.processes].some(p => p === process))
    if (node === undefined) throw new TypeError('the process belongs to no node')
    return node
  }

  application(node: Node): Application | null {
    return this.#applications.get(node) ?? null
  }

  async tell(): Promise<void> {
    const { world, random } = this
    await this.#build()
    for (const node of this.nodes) node.keepRunning()
    this.#keepApplication()
    this.operator.keepWatch()
    this.#keepLooking()
    const nemesis = new Nemesis(this)
    const failover = this.#failover ? Failover.chosen(this) : null
    const length = random.pick([500, 1200, 2500])
    nemesis.begin()
    await Promise.all([this.sleep(length), failover?.run()])
    await nemesis.end()
    await this.operator.end()
    this.calm = true
    for (const application of this.#applications.values()) application.pauseMs = calmPauseMs
    world.note('calm: nothing befalls anybody from here on')
    await failover?.complete()
    await this.#intoStep('after the last fault')
    await this.#lastPowerFailure()
    this.#over = true
    this.operator.goesHome()
  }

  async #build(): Promise<void> {
    const { random, world } = this
    const shape = random.weighted({ pair: 5, cascade: 2, fan: 2 })
    const count = shape === 'pair' ? 2 : 3
    for (let index = 0; index < count; index++) this.nodes.push(new Node(world, index))
    const [a, b, c] = this.nodes
    const slavesOf = new Map<Node, Node[]>([
      [a!, shape === 'fan' ? [b!, c!] : [b!]],
      [b!, shape === 'cascade' ? [c!] : []],
    ])
    const network = world.network
    network.delayMs = random.pick([0.2, 2, 20])
    network.pieceBytes = random.pick([100, 1500, 64 * 1024])
    network.twice = random.chance(0.2) ? 0.1 : 0
    const verified = random.chance(0.3)
    const queue = random.weighted({ none: 4, pace: 1, refuse: 1, drop: 1 })
    this.checker.busyMasters = verified || this.#manners.localFiles
    const helpers = random.chance(0.6) ? '4KiB' : '32MiB'
    const tables: NodeSettings['tables'] = {
      log: [
        'segment_size = "64KiB"',
        random.chance(0.3) ? 'keep_size = "256KiB"' : 'keep_time = "0"',
      ],
      database: ['cache_size = "4MiB"'],
      link: ['heartbeat = "400ms"', 'timeout = "1500ms"', 'window_size = "64KiB"'],
      helpers: [`size = "${helpers}"`, 'patience = "2s"'],
      commit: ['timeout = "800ms"'],
      slave: ['auto_seed = true'],
      queue: queue === 'none' ? [] : [`limit = "24KiB"`, `on_limit = "${queue}"`],
      verify: [`interval = "${verified ? '1s' : 'off'}"`],
    }
    for (const [index, node] of this.nodes.entries()) {
      const slaves = (slavesOf.get(node) ?? []).map(({ name }) => name)
      const type = index === 0 ? 'master' : 'slave'
      await node.make({ type, slaves, tables }, this.nodes)
    }
    for (const [node, slaves] of slavesOf)
      for (const slave of slaves) this.upstream.set(slave, node)
    this.master = a!
    world.note(`a story of ${shape}; ${JSON.stringify(this.#manners)}`)
  }

  sleep(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.world.scheduler.after(ms, null, resolve)
    })
  }

  // ---- Those who keep things going ----

  #keepApplication(): void {
    if (this.#over) return
    const node = this.master
    const there = this.#applications.get(node)
    if (there === undefined && !node.machine.down && !node.attended && node.type === 'master') {
      const others = this.nodes.filter(other => other !== node)
      const { checker, random } = this
      const manners = { ...this.#manners, pauseMs: this.calm ? calmPauseMs : this.#manners.pauseMs }
      const application = new Application(node, others, checker, manners, random)
      this.#applications.set(node, application)
      void application.ended.then(() => {
        this.#applications.delete(node)
      })
    }
    this.world.scheduler.after(this.random.between(20, 300), null, () => this.#keepApplication())
  }

  #keepLooking(): void {
    if (this.#over) return
    this.world.scheduler.after(this.random.between(100, 900), null, () => {
      try {
        this.look()
      } catch (error) {
        this.world.fail(error)
      }
      this.#keepLooking()
    })
  }

  /** All that can be checked at any moment. What is damaged on one server must never be so on another. */
  look(): void {
    for (const node of this.nodes) if (!node.machine.down && !node.damaged) this.#look(node)
  }

  #look(node: Node): void {
    const open = node.database
    this.world.onlooking = true
    try {
      if (open === null) this.checker.log(node)
      else this.checker.database(node, open.database, open.replica)
    } finally {
      this.world.onlooking = false
    }
    const applied = node.appliedTxn
    for (const { by, appliedTxn } of this.#claims(node)) {
      if (appliedTxn <= applied) continue
      throw new Violation(
        `${by} was told that ${node.name} has applied ${appliedTxn}; it has applied ${applied}`,
      )
    }
  }

  /** The last transaction that the node is said to hold durably. */
  promised(node: Node): number {
    return Math.max(0, ...this.#claims(node).map(({ durableTxn }) => durableTxn))
  }

  #claims(node: Node) {
    const sender = this.upstream.get(node)
    return sender === undefined || node.attended ? [] : this.checker.claims(node, [sender])
  }

  // ---- What befalls them ----

  powerFails(node: Node, loss: Loss): void {
    if (node.machine.down) return
    const claims = this.#claims(node)
    node.machine.powerFails(loss)
    try {
      this.checker.afterPowerFailure(node, claims)
    } catch (error) {
      this.world.fail(error)
    }
  }

  // ---- The end ----

  async #intoStep(when: string): Promise<void> {
    const { world } = this
    const start = world.scheduler.now
    let missing = ''
    while (world.scheduler.now - start < calmMs) {
      missing = this.#outOfStep()
      if (missing === '') break
      const application = this.#applications.get(this.master)
      if (application?.master !== null && application !== undefined) application.quiet = true
      await this.sleep(lookMs)
    }
    if (missing !== '') throw new Violation(`${when} they do not come into step: ${missing}`)
    world.note(`in step, ${when}`)
    this.look()
    this.#checkEqual()
  }

  /** What is missing; nothing when all servers hold and show the same. */
  #outOfStep(): string {
    const application = this.#applications.get(this.master)
    const master = application?.master ?? null
    if (application === undefined || master === null) return 'no application has the master open'
    if (master.status().failure !== null) return `the master: ${master.status().failure}`
    if (!application.quiet) return 'the applications are at work'
    const last = master.lastTxn
    for (const node of this.nodes) {
      const open = node.database
      if (open === null) return `${node.name} is not open`
      if (open.database.appliedTxn < last) {
        return `${node.name} has applied ${open.database.appliedTxn} of ${last}`
      }
      const [hold] = open.database.work.holds()
      if (hold !== undefined) return `${node.name} holds ${hold.account} ${hold.file}`
      const [job] = open.database.work.jobs()
      if (job !== undefined) return `${node.name} has work for helpers: ${job.operation}`
    }
    return ''
  }

  /** Segments that are complete are the same files everywhere; nothing that was temporary is left. */
  #checkEqual(): void {
    const logs = this.nodes.map(node => ({ node, log: this.checker.log(node) }))
    const first = logs[0]!
    for (const { node, log } of logs) {
      for (const segment of log.segments) {
        const name = segment.path.slice(segment.path.lastIndexOf('/'))
        const other = first.log.segments.find(({ path }) => path.endsWith(name))
        if (other === undefined || other.end !== segment.end) continue
        const bytes = (of: Node, path: string) =>
          of.machine.disk.file(path)!.bytes.subarray(0, segment.end)
        if (bytes(node, segment.path).equals(bytes(first.node, other.path))) continue
        throw new Violation(`${name} is not the same on ${node.name} and ${first.node.name}`)
      }
      const lost = [...node.machine.disk.filesBelow(node.layout.lostAndFound)]
      if (lost.length > 0) throw new Violation(`${node.name} has lost ${lost[0]![0]}`)
    }
  }

  /** All plugs are pulled: what was acknowledged must be there, by what lies on the disks. */
  async #lastPowerFailure(): Promise<void> {
    const end = this.random.weighted({ over: 5, again: 3, damage: 2 })
    for (const node of this.nodes) this.powerFails(node, 'all')
    if (end === 'over') return
    const acknowledged = this.checker.histories().at(-1)?.acknowledged ?? 0
    const damaged = end === 'damage' ? this.#damage() : null
    for (const node of this.nodes) node.machine.boots()
    if (damaged === null) await this.#intoStep('after the last power failure')
    else await this.#damageIsMet(damaged, acknowledged)
  }

  /**
   * A bit changes, or a sector becomes unreadable, while nobody looks, in what can be told from a torn end. Null: there
   * is no such place.
   */
  #damage(): Node | null {
    const node = this.random.pick(this.nodes)
    const { disk } = node.machine
    const paths = [...disk.filesBelow(node.layout.log), ...disk.filesBelow(node.layout.database)]
    const choices = paths.filter(([path, { size }]) => size > 0 && /\.log$|database/.test(path))
    if (choices.length === 0) return null
    const [path, file] = this.random.pick(choices)
    const segment = this.checker.log(node).segments.find(known => known.path === path)
    const offset = this.random.int(0, (segment?.end ?? file.size) - 1)
    if (segment !== undefined) {
      const at = segment.blocks.findIndex(block => offset < block.offset)
      const txn = segment.blocks[at - 1]?.txn ?? segment.firstTxn - 1
      if (!segment.blocks.slice(at + 1).some(({ promise }) => promise > txn)) return null
    }
    if (this.random.chance(0.3)) {
      this.world.fault('unreadable', `${path} of ${node.name}, byte ${offset}`)
      file.spoil(offset)
    } else {
      this.world.fault('damage', `${path} of ${node.name}, byte ${offset}`)
      file.damage(offset, 1 << this.random.int(0, 7))
    }
    node.damaged = true
    // A slave may take a new copy of what it finds damaged.
    for (const other of this.nodes) other.copiesExpected = true
    return node
  }

  /** Refused, repaired or without effect: but nothing that was acknowledged is missing without a word. */
  async #damageIsMet(node: Node, acknowledged: number): Promise<void> {
    await this.sleep(5000)
    this.look()
    const open = node.database
    if (open === null || node.damageTold !== null) return
    const { database } = open
    const history = this.checker.histories().at(-1)
    if (history === undefined || database.failure !== null) return
    if (database.appliedTxn < acknowledged) {
      throw new Violation(
        `${node.name} was damaged, says nothing, and has ${database.appliedTxn} of ${acknowledged}`,
      )
    }
    this.world.onlooking = true
    try {
      const known = Math.min(database.appliedTxn, history.known)
      const problem = difference(database, history.stateAt(known), false)
      if (problem !== null)
        throw new Violation(`${node.name} was damaged, and shows it: ${problem}`)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT', 'ERR_GROUP_DAMAGED')) throw error
    } finally {
      this.world.onlooking = false
    }
  }
}
