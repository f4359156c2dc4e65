// Failover, as an operator does it: a slave takes over while the master is down, cut off or quite well; later the old
// master comes back as its slave, and what it had alone lies in missing-updates. Or they change places on purpose.
// Any step of the commands may fail, once or until the disk is repaired. In the end there is one master, by the same
// command given again.
import { isHotBackupError, type ErrorCode } from '../../src/errors.ts'
import { enterSlave } from '../../src/failover/joining.ts'
import { promoteServer } from '../../src/failover/promote.ts'
import { rejoinServer } from '../../src/failover/rejoin-command.ts'
import { switchServers } from '../../src/failover/switch.ts'
import { decodeLog } from './log-decoder.ts'
import type { History } from './model.ts'
import type { Node } from './nodes.ts'
import type { Debt } from './oracle.ts'
import type { Story } from './story.ts'
import { Violation } from './violation.ts'
import type { Breakage } from './world/machine.ts'

type Kind = 'after a power failure' | 'cut off' | 'in step' | 'switch'

const retryMs = 1000
/** An operator who gets no further in calm weather has met a fault of the program. */
const triesMax = 120
const fencedWithinMs = 60_000

/** A disk that fails is repaired after so long, whether the command is given again or not. */
const repairedAfterMs = 5000

/** Where a step may fail: what the path of the file contains. */
const places = [
  '/srv',
  '/log/',
  '/database/',
  '/role',
  '/promotion',
  '/fenced',
  '/rejoin',
  '/slaves',
  '/missing-updates',
]

/** A disk that fails in the middle of commands. */
interface Sabotage {
  readonly node: Node
  readonly breakage: Omit<Breakage, 'met'>
  /** Of so many commands. */
  orders: number
}

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
  readonly #sabotage: Sabotage | null
  /** The new one is the master. */
  #done = false
  #calm = false

  private constructor(
    story: Story,
    kind: Kind,
    afterMs: number,
    [from, to]: readonly [Node, Node],
    sabotage: Sabotage | null,
  ) {
    this.#story = story
    this.#kind = kind
    this.#afterMs = afterMs
    this.#old = from
    this.#new = to
    this.#sabotage = sabotage
  }

  static chosen(story: Story): Failover {
    const { random, nodes, master } = story
    const kind = random.weighted<Kind>({
      'after a power failure': 3,
      'cut off': 2,
      'in step': 1,
      switch: 2,
    })
    const afterMs = story.calm ? 0 : random.between(200, 2500)
    const slaves = nodes.filter(node => story.upstream.get(node) === master)
    const pair = [master, random.pick(slaves)] as const
    const lasting = random.chance(0.5)
    const sabotage: Sabotage = {
      node: random.pick(pair),
      breakage: {
        path: random.pick(places),
        code: random.pick(['EIO', 'EACCES']),
        lasting,
        after: random.int(0, random.pick([2, 12])),
      },
      orders: random.int(1, 3),
    }
    return new Failover(story, kind, afterMs, pair, random.chance(0.4) ? sabotage : null)
  }

  /** The slave takes over from a master that is of no use any more. */
  static instead(story: Story): Failover {
    const slave = story.random.pick(story.nodes.filter(node => node !== story.master))
    return new Failover(story, 'in step', 0, [story.master, slave], null)
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
    if (this.#kind === 'cut off') await this.#closeWays()
    if (told.random.chance(0.5)) told.application(this.#old)?.leave()
    await this.#promote(5)
  }

  /** In calm weather it must come to its end. */
  async complete(): Promise<void> {
    this.#calm = true
    if (this.#kind === 'switch') {
      if (!this.#done) await this.#switch(triesMax)
    } else {
      if (!this.#done) await this.#promote(triesMax)
      if (!this.#done) return
      await this.#oldIsFenced()
      await this.#rejoin(this.#old)
    }
    await this.#othersFollow()
    this.#checkOneMaster()
  }

  #checkOneMaster(): void {
    const masters = this.#story.nodes.filter(({ type }) => type === 'master')
    if (masters.length === 1 && masters[0] === this.#new) return
    const names = masters.map(({ name }) => name).join(' and ') || 'nobody'
    throw new Violation(`${this.#new.name} should be the master now, and ${names} is`)
  }

  /** For as long as the lease of the old master lasts, if it has one. */
  async #closeWays(): Promise<void> {
    const { world, nodes, oracle } = this.#story
    for (const other of nodes) {
      if (other === this.#old) continue
      world.network.closeWay(`${other.name}>${this.#old.name}`)
      world.network.closeWay(`${this.#old.name}>${other.name}`)
    }
    if (oracle.leaseMs > 0) await this.#story.sleep(oracle.leaseMs + 1)
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
        this.#checkFork(history, promised)
        this.#moveTo(node)
        return
      }
      await this.#story.sleep(retryMs)
    }
    if (this.#calm) throw new Violation(`${node.name} cannot be promoted`)
  }

  #checkFork({ fork, parent }: History, promised: number): void {
    const { oracle } = this.#story
    const { name } = this.#new
    if (parent === null) throw new Violation(`${name} has begun a history of its own`)
    const counted = oracle.debtOf(this.#new)
    const owed = counted?.history === parent ? counted.txn : 0
    if (fork < Math.max(promised, owed)) {
      throw new Violation(
        `${name} was promoted at ${fork}, was said to hold ${promised}, and was counted on for ${owed}`,
      )
    }
    // With a lease, and as long as nobody reaches it, the old master may not go on by itself.
    if (this.#kind === 'cut off' && !this.#calm && oracle.leaseMs > 0) oracle.over(parent)
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
    const { checker, oracle } = this.#story
    // What was set back has no part in the history any more.
    const history = node.damaged ? null : checker.historyOf(checker.log(node))
    const before = history !== null && checker.masterOf(history) === node ? history : null
    // What applications were told of it by its own acknowledgement, or by counting on it.
    const debt =
      before === null ? oracle.debtOf(node) : { history: before, txn: before.acknowledged }
    checker.retire(node)
    node.handsOnNothing()
    node.attended = true
    node.comingBack = true
    try {
      let newCopy = false
      for (let times = 0; times < triesMax; times++) {
        const outcome = await this.#ordered(node, 'hb-rejoin', platform => {
          const from = { host: '127.0.0.1', port: Number(this.#new.address.split(':')[1]) }
          return rejoinServer(platform, node.layout.directory, { from, listen: null, newCopy })
        })
        if (typeof outcome === 'object') {
          this.#story.upstream.set(node, this.#new)
          this.#checkMissing(node, debt, outcome.forkTxn)
          if (outcome.newCopy) node.damaged = false
          if (outcome.newCopy || (debt?.txn ?? 0) > outcome.forkTxn) oracle.forgive(node)
          this.#checkAcks(node)
          return
        }
        if (typeof outcome === 'string' && needsNewCopy.has(outcome)) newCopy = true
        // Whoever has it among its slaves may give it.
        if (newCopy) for (const other of this.#story.nodes) other.copiesExpected = true
        await this.#story.sleep(retryMs)
      }
      throw new Violation(`${node.name} cannot come back as a slave of ${this.#new.name}`)
    } finally {
      node.attended = false
      node.comingBack = false
      node.mustNotSend = false
    }
  }

  /** What it had alone, and had been acknowledged, lies there whole. */
  #checkMissing(node: Node, debt: Debt | null, forkTxn: number): void {
    if (debt === null || debt.txn <= forkTxn || node.damaged) return
    const saved = [...node.machine.disk.filesBelow(node.layout.missingUpdates)]
      .filter(([path]) => path.endsWith('.log'))
      .map(([path]) => this.#story.checker.saved(node, path))
    for (let txn = forkTxn + 1; txn <= debt.txn; txn++) {
      const given = debt.history.at(txn)
      if (given === undefined || saved.some(known => known.holds(txn, given))) continue
      throw new Violation(
        `${node.name}: transaction ${txn} was acknowledged, is behind the fork at ${forkTxn}, and was not saved`,
      )
    }
  }

  /** What slaves have told it in its time as a master says nothing of the log that it has now. */
  #checkAcks(node: Node): void {
    const { checker, nodes } = this.#story
    for (const other of nodes) {
      const [claim] = checker.claims(other, [node])
      if (claim === undefined || checker.isKept(other, claim)) continue
      throw new Violation(
        `${node.name} has come back, and still believes that ${other.name} holds ${claim.durableTxn}`,
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
    node.handsOnNothing()
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
    const repaired = this.#break(name)
    try {
      world.note(`${node.name}: ${name}`)
      const outcome = await node.command(name, work)
      world.note(`${node.name}: ${name}: ${outcome === 'died' ? 'died' : 'done'}`)
      return outcome
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      world.note(`${node.name}: ${name}: ${error.code}: ${error.message}`)
      return error.code
    } finally {
      repaired()
    }
  }

  /** Some step of the command fails, it may be. */
  #break(name: string): () => void {
    const sabotage = this.#sabotage
    if (sabotage === null || sabotage.orders === 0) return () => {}
    const { machine } = sabotage.node
    const met = () => this.#story.world.fault(`failing step of ${name}`, '')
    machine.broken = { ...sabotage.breakage, met }
    sabotage.orders--
    const repaired = () => {
      machine.broken = null
    }
    return () => {
      if (sabotage.orders === 0 || !sabotage.breakage.lasting) repaired()
      else this.#story.world.scheduler.after(repairedAfterMs, null, repaired)
    }
  }
}
