// Failover, as an operator does it: a slave takes over while the master is down, cut off or quite well; later the old
// master comes back as its slave, and what it had alone lies in missing-updates. Or they change places on purpose.
import { isHotBackupError, type ErrorCode } from '../../src/errors.ts'
import { enterSlave } from '../../src/failover/joining.ts'
import { promoteServer } from '../../src/failover/promote.ts'
import { rejoinServer } from '../../src/failover/rejoin-command.ts'
import { switchServers } from '../../src/failover/switch.ts'
import { Violation } from './checker.ts'
import { decodeLog } from './log-decoder.ts'
import type { History } from './model.ts'
import type { Node } from './nodes.ts'
import type { Story } from './story.ts'

type Kind = 'after a power failure' | 'cut off' | 'in step' | 'switch'

const retryMs = 1000
/** An operator who gets no further in calm weather has met a fault of the program. */
const triesMax = 120
const fencedWithinMs = 60_000

/** What "hb rejoin" says when there is no other way. */
const needsNewCopy = new Set([
  'ERR_UNSAFE',
  'ERR_LINK_SEED',
  'ERR_LOG_REMOVED',
  'ERR_LOG_FOREIGN',
  'ERR_LOG_GAP',
])

export class Failover {
  readonly #story: Story
  readonly #kind: Kind
  readonly #afterMs: number
  readonly #old: Node
  readonly #new: Node
  #done = false
  #calm = false

  private constructor(
    story: Story,
    kind: Kind,
    afterMs: number,
    [from, to]: readonly [Node, Node],
  ) {
    this.#story = story
    this.#kind = kind
    this.#afterMs = afterMs
    this.#old = from
    this.#new = to
  }

  static chosen(story: Story): Failover {
    const { random, nodes } = story
    const kind = random.weighted<Kind>({
      'after a power failure': 3,
      'cut off': 2,
      'in step': 1,
      switch: 2,
    })
    const afterMs = random.between(200, 2500)
    return new Failover(story, kind, afterMs, [nodes[0]!, nodes[1]!])
  }

  /** While things befall everybody: it may not work, and is tried again. */
  async run(): Promise<void> {
    const told = this.#story
    await told.sleep(this.#afterMs)
    told.world.fault('failover', this.#kind)
    if (this.#kind === 'switch') {
      await this.#switch(5)
      return
    }
    if (this.#kind === 'after a power failure') told.powerFails(this.#old, 'all')
    if (this.#kind === 'cut off') this.#closeWays()
    if (told.random.chance(0.5)) told.application(this.#old)?.leave()
    await this.#promote(5)
  }

  /** In calm weather it must come to its end. */
  async complete(): Promise<void> {
    this.#calm = true
    if (this.#kind === 'switch') {
      if (!this.#done) await this.#switch(triesMax)
      if (!this.#done) return
      await this.#othersFollow()
      return
    }
    if (!this.#done) await this.#promote(triesMax)
    if (!this.#done) return
    await this.#oldIsFenced()
    await this.#rejoin(this.#old)
    await this.#othersFollow()
  }

  #closeWays(): void {
    const { world, nodes } = this.#story
    for (const other of nodes) {
      if (other === this.#old) continue
      world.network.closedWays.add(`${other.name}>${this.#old.name}`)
      world.network.closedWays.add(`${this.#old.name}>${other.name}`)
    }
  }

  // ---- Promotion ----

  async #promote(tries: number): Promise<void> {
    const { world } = this.#story
    const node = this.#new
    const promised = this.#story.promised(node)
    for (let times = 0; times < tries; times++) {
      const outcome = await this.#ordered(node, 'hb-promote', platform =>
        promoteServer(platform, node.layout.directory),
      )
      if (outcome === 'ERR_UNSAFE') {
        // It has nothing yet: then there is nothing to take over.
        if (this.#calm) return
      } else if (outcome === 'ERR_WRONG_TYPE' || typeof outcome === 'object') {
        const log = this.#story.checker.log(node)
        const history = this.#story.checker.historyOf(log)
        if (history === null) throw new Violation(`${node.name} was promoted without a log`)
        world.note(`${node.name} is the master now, from transaction ${history.fork}`)
        if (history.fork < promised) {
          throw new Violation(
            `${node.name} was promoted at ${history.fork}, and was said to hold ${promised}`,
          )
        }
        this.#moveTo(node)
        return
      }
      await this.#story.sleep(retryMs)
    }
    if (this.#calm) throw new Violation(`${node.name} cannot be promoted`)
  }

  #moveTo(node: Node): void {
    this.#done = true
    this.#story.master = node
    this.#story.upstream.delete(node)
    this.#story.upstream.delete(this.#old)
  }

  /** The application that has not heard of it is told so: updates of two masters must not go on side by side. */
  async #oldIsFenced(): Promise<void> {
    const { world } = this.#story
    const start = world.scheduler.now
    for (;;) {
      const application = this.#story.application(this.#old)
      if (application === null) return
      if (world.scheduler.now - start > fencedWithinMs) {
        throw new Violation(`${this.#old.name} goes on taking updates, and is no master any more`)
      }
      await this.#story.sleep(100)
    }
  }

  // ---- The way back ----

  async #rejoin(node: Node): Promise<void> {
    const { checker } = this.#story
    const history = checker.historyOf(checker.log(node))
    const before = history !== null && checker.masterOf(history) === node ? history : null
    if (before !== null) checker.retire(before)
    node.attended = true
    try {
      let newCopy = false
      for (let times = 0; times < triesMax; times++) {
        const outcome = await this.#ordered(node, 'hb-rejoin', platform => {
          const from = { host: '127.0.0.1', port: Number(this.#new.address.split(':')[1]) }
          return rejoinServer(platform, node.layout.directory, { from, listen: null, newCopy })
        })
        if (typeof outcome === 'object') {
          this.#story.upstream.set(node, this.#new)
          this.#checkMissing(node, before, outcome.forkTxn)
          return
        }
        if (typeof outcome === 'string' && needsNewCopy.has(outcome)) newCopy = true
        if (newCopy) this.#new.copiesExpected = true
        await this.#story.sleep(retryMs)
      }
      throw new Violation(`${node.name} cannot come back as a slave of ${this.#new.name}`)
    } finally {
      node.attended = false
    }
  }

  /** What it had alone, and had acknowledged, lies there whole. */
  #checkMissing(node: Node, before: History | null, forkTxn: number): void {
    if (before === null || before.acknowledged <= forkTxn) return
    const saved = [...node.machine.disk.filesBelow(node.layout.missingUpdates)]
      .filter(([path]) => path.endsWith('.log'))
      .map(([path]) => this.#story.checker.saved(node, path))
    for (let txn = forkTxn + 1; txn <= before.acknowledged; txn++) {
      const given = before.at(txn)
      if (given === undefined || saved.some(known => known.holds(txn, given))) continue
      throw new Violation(
        `${node.name}: transaction ${txn} was acknowledged, is behind the fork at ${forkTxn}, and was not saved`,
      )
    }
  }

  /** The other slaves of the old master, and those of the new one that hold more than it had. */
  async #othersFollow(): Promise<void> {
    const { nodes, upstream, checker } = this.#story
    const fork = checker.historyOf(checker.log(this.#new))?.fork ?? 0
    for (const node of nodes) {
      if (node === this.#new || node === this.#old) continue
      const ahead = checker.log(node).lastTxn > fork && !this.#follows(node)
      if (upstream.get(node) !== this.#old && !ahead) continue
      upstream.delete(node)
      if (this.#story.checker.log(node).lastTxn > 0) await this.#rejoin(node)
      else await this.#enter(node)
    }
  }

  #follows(node: Node): boolean {
    const { checker } = this.#story
    return checker.log(node).lineage === checker.log(this.#new).lineage
  }

  /** A slave that has nothing yet has nothing to come back with: it is entered by hand. */
  async #enter(node: Node): Promise<void> {
    const master = this.#new
    // Its log begins at the fork, or later.
    master.copiesExpected = true
    await this.#ordered(master, 'editor', async platform => {
      await enterSlave(platform, master.layout, node.name, node.address)
      return {}
    })
    master.service?.onTerminate()
    this.#story.upstream.set(node, master)
  }

  // ---- Changing places ----

  async #switch(tries: number): Promise<void> {
    const { world, checker } = this.#story
    const node = this.#old
    for (let times = 0; times < tries; times++) {
      const before = checker.historyOf(decodeLog(node.machine.disk, node.layout.log))
      node.attended = true
      const outcome = await this.#ordered(node, 'hb-switch', platform =>
        switchServers(platform, node.layout.directory, {
          to: this.#new.name,
          listen: null,
          timeoutMs: 3000,
        }),
      )
      node.attended = false
      if (typeof outcome === 'object' || outcome === 'ERR_WRONG_TYPE') {
        world.note(`${this.#new.name} and ${node.name} have changed places`)
        if (before !== null && typeof outcome === 'object') {
          const lost = before.acknowledged - outcome.forkTxn
          if (lost > 0) throw new Violation(`changing places has lost ${lost} transactions`)
        }
        this.#moveTo(this.#new)
        this.#story.upstream.set(node, this.#new)
        return
      }
      await this.#completePromotion()
      await this.#story.sleep(retryMs)
    }
    if (this.#calm) throw new Violation(`${node.name} and ${this.#new.name} cannot change places`)
  }

  /**
   * It was decided when its machine failed: the server asks its operator to complete it. One that has begun and was not
   * decided is none: the slave goes on as one, and its master may take updates again.
   */
  async #completePromotion(): Promise<void> {
    const node = this.#new
    if (!node.promotionAsked || node.type === 'master' || node.service !== null) return
    await this.#ordered(node, 'hb-promote', platform =>
      promoteServer(platform, node.layout.directory),
    )
  }

  /** The command's result, or the code of its error; 'died' when its machine or process did. */
  async #ordered<T extends object>(
    node: Node,
    name: string,
    work: (platform: Parameters<typeof promoteServer>[0]) => Promise<T>,
  ): Promise<T | ErrorCode | 'died'> {
    const { world } = this.#story
    try {
      world.note(`${node.name}: ${name}`)
      const outcome = await node.command(name, work)
      world.note(`${node.name}: ${name}: ${outcome === 'died' ? 'died' : 'done'}`)
      return outcome
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      world.note(`${node.name}: ${name}: ${error.code}: ${error.message}`)
      return error.code
    }
  }
}
