// The operator of a world: starts again what says that it does not work, does what servers ask of him, and gives orders
// that must do no harm whenever they come: apply updates off and on, copies, verification, a look through a disk.
import { isHotBackupError } from '../../src/errors.ts'
import type { Platform } from '../../src/platform/platform.ts'
import { seedSlave } from '../../src/backup/seed-order.ts'
import { scrub } from '../../src/repair/scrub.ts'
import { switchApplyUpdates } from '../../src/replay/apply-updates.ts'
import { verifyServer } from '../../src/repair/verify-command.ts'
import { statusNow } from '../../src/control/reach.ts'
import { withData } from '../../src/server/sessions.ts'
import { Violation } from './checker.ts'
import type { Node } from './nodes.ts'
import type { Story } from './story.ts'
import type { SimProcess } from './world/process.ts'

export const orders = ['apply switched', 'copy ordered', 'verified', 'scrubbed'] as const
export type Order = (typeof orders)[number]

/** Whoever sees a command wait for longer interrupts it. */
const patienceMs = 20_000

export class Operator {
  readonly #story: Story
  #over = false
  /** Commands that are under way. */
  readonly #commands = new Set<Promise<unknown>>()
  /** Their processes, and where they run. */
  readonly #processes = new Map<SimProcess, Node>()

  constructor(story: Story) {
    this.#story = story
  }

  /** Until the story is over. */
  keepWatch(): void {
    const { world, random, nodes } = this.#story
    world.scheduler.after(random.between(500, 1500), null, () => {
      if (this.#over) return
      void Promise.all(nodes.map(node => this.#watch(node))).then(() => this.keepWatch())
    })
  }

  goesHome(): void {
    this.#over = true
  }

  async #watch(node: Node): Promise<void> {
    const { service } = node
    if (service === null || node.attended || service.stopped) return
    if (node.copyAsked) {
      node.copyAsked = false
      this.#orderCopy(node)
    }
    const answer = await node.command('hb-status', async platform => {
      const resident = service.name === 'hb-slave' ? 'owner' : 'shipper'
      return statusNow(platform, node.layout, resident)
    })
    if (answer === 'died' || answer === null || service.dead) return
    const failure = answer.slave?.failure ?? null
    if (failure === null) return
    if (node.damaged) node.damageTold = failure
    node.world.note(`${node.name}: started again, it says: ${failure}`)
    service.onTerminate()
    await this.#story.sleep(3000)
    if (!service.dead) node.machine.kill(service)
  }

  // ---- Orders ----

  give(order: Order, node: Node): void {
    if (node.attended) return
    switch (order) {
      case 'apply switched':
        this.#switchApply(node)
        return
      case 'copy ordered':
        this.#orderCopy(node)
        return
      case 'verified':
        this.#verify(node)
        return
      case 'scrubbed':
        this.#scrub(node)
        return
      default:
        order satisfies never
    }
  }

  /** Resolves when all that was ordered has come to its end, and everybody applies updates. */
  async end(): Promise<void> {
    await Promise.race([Promise.all(this.#commands), this.#story.sleep(patienceMs)])
    // One waits for a server that only comes back when the failover goes on, say.
    for (const [process, { machine }] of this.#processes) machine.kill(process)
    await Promise.all(this.#commands)
    for (const node of this.#story.nodes) {
      for (let times = 0; node.machine.disk.file(node.layout.applySwitch) !== null; times++) {
        if (node.type === 'master' || times > 60) break
        const done = await this.#run(node, 'hb-apply', platform =>
          switchApplyUpdates(platform, node.layout.directory, true),
        )
        if (done) break
        await this.#story.sleep(1000)
      }
    }
  }

  #switchApply(node: Node): void {
    if (node.type !== 'slave') return
    const on = this.#story.random.chance(0.5)
    node.world.fault('apply switched', `${node.name} ${on ? 'on' : 'off'}`)
    void this.#run(node, 'hb-apply', platform =>
      switchApplyUpdates(platform, node.layout.directory, on),
    )
  }

  #orderCopy(slave: Node): void {
    const master = this.#story.upstream.get(slave)
    if (master === undefined || master.attended) return
    // Its log begins later then: those behind it may need one, too.
    for (const node of [master, slave]) node.copiesExpected = true
    slave.world.fault('copy ordered', `${master.name} for ${slave.name}`)
    void this.#run(master, 'hb-seed', platform =>
      seedSlave(platform, master.layout.directory, slave.name, () => {}),
    )
  }

  #verify(node: Node): void {
    if (node.type !== 'master') return
    node.world.fault('verified', node.name)
    const options = { account: null, file: null, slave: null, repair: false, timeoutMs: 2000 }
    void this.#run(node, 'hb-verify', async platform => {
      const all = { ...options, access: withData, progress: () => {} }
      const { slaves } = await verifyServer(platform, node.layout.directory, all)
      const [wrong] = slaves.filter(({ found, more }) => found.length > 0 || more > 0)
      if (wrong !== undefined) throw new Violation(`hb verify says that ${wrong.name} differs`)
    })
  }

  #scrub(node: Node): void {
    node.world.fault('scrubbed', node.name)
    void this.#run(node, 'hb-scrub', async platform => {
      const options = {
        access: withData,
        repair: false,
        rate: 0,
        progress: () => {},
        say: () => {},
      }
      const { damages } = await scrub(platform, node.layout.directory, options)
      // What could not be read, and what a crash may leave for the next start, is told as well.
      const real = damages.filter(
        ({ message, path }) =>
          !/EIO|the next start repairs it/.test(message) && !path.endsWith('.ack'),
      )
      const [damage] = real
      if (damage === undefined || node.damaged) return
      const { path, offset, message } = damage
      const text = `${path}, byte ${offset}: ${message}`
      throw new Violation(`hb scrub of ${node.name}, which is not damaged: ${text}`)
    })
  }

  /** A command that may fail: he tries again, later. True when it has not. */
  #run(node: Node, name: string, work: (platform: Platform) => Promise<void>): Promise<boolean> {
    const { world } = node
    const started = (platform: Platform, process: SimProcess) => {
      this.#processes.set(process, node)
      process.onEnd(() => this.#processes.delete(process))
      return work(platform)
    }
    const told = node.command(name, started).then(
      outcome => {
        world.note(`${node.name}: ${name}: ${outcome ?? 'done'}`)
        return outcome !== 'died'
      },
      (error: unknown) => {
        if (!isHotBackupError(error)) world.fail(error)
        else world.note(`${node.name}: ${name}: ${error.code}: ${error.message}`)
        return false
      },
    )
    this.#commands.add(told)
    void told.finally(() => this.#commands.delete(told))
    return told
  }
}
