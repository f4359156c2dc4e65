// What applications were told, and whether it is so: each update that was acknowledged, at the level at which it was,
// held against what lies on the disks of all servers at that moment, whether they run or not, and from then on until it
// may be given up. It asks no server, and believes no ack: an update counts as durable where no loss of power could
// take it any more.
import type { Checker } from './checker.ts'
import { decodeLog } from './log-decoder.ts'
import { recordText, sameTransaction, type History } from './model.ts'
import type { Node } from './nodes.ts'
import { Violation } from './violation.ts'

export type Level = 'local' | 'received' | 'durable' | 'applied'

/** How far a transaction of a history has got on a server. */
interface Standing {
  readonly received: boolean
  readonly durable: boolean
  readonly applied: boolean
}

/** What a server must not lose. */
export interface Debt {
  readonly history: History
  readonly txn: number
}

export class Oracle {
  readonly #checker: Checker
  readonly #nodes: readonly Node[]
  /** So many slaves are promised by levels above "local". */
  slaves = 1
  /** Milliseconds without a slave after which nothing may be acknowledged; 0: no matter. */
  leaseMs = 0
  /** Slaves that were counted for an acknowledgement must not give up what it was about. */
  readonly #debts = new Map<Node, Debt>()
  /** How far servers had got before something was taken from them. */
  readonly #before = new Map<Node, (history: History, txn: number) => Standing>()
  /** Nothing of it may be acknowledged any more. */
  #over: History | null = null

  constructor(checker: Checker, nodes: readonly Node[]) {
    this.#checker = checker
    this.#nodes = nodes
  }

  /** An application of `node` was told that `txn` is done. */
  acknowledged(node: Node, history: History, txn: number, level: Level): void {
    this.#checker.checks++
    const what = `${node.name} has acknowledged ${txn}`
    if (this.#over === history) throw new Violation(`${what}, and another server is the master`)
    this.#checkLease(node, what)
    this.seen(node, history, txn)
    if (level === 'local') return
    const holders = this.#nodes.filter(other => {
      if (other === node) return false
      if (other.inFlux || other.damaged || this.#standing(other, history, txn)[level]) return true
      return this.#before.get(other)?.(history, txn)[level] === true
    })
    if (holders.length < this.slaves) {
      const names = holders.map(({ name }) => name).join(' and ') || 'no slave'
      throw new Violation(`${what} at the level ${level}: ${names} has it, of ${this.slaves}`)
    }
    if (level === 'received') return
    for (const holder of holders) {
      const debt = this.#debts.get(holder)
      if (debt?.history === history && debt.txn >= txn) continue
      // The disk at that moment is what counts, not what it was before.
      if (this.#standing(holder, history, txn).durable) this.#debts.set(holder, { history, txn })
    }
  }

  /** An application of `node` has read what `txn` has changed: whoever has read it may act on it. */
  seen(node: Node, history: History, txn: number): void {
    history.acknowledged = Math.max(history.acknowledged, txn)
    if (node.damaged || txn === 0 || this.#standing(node, history, txn).durable) return
    throw new Violation(`${node.name} has acknowledged ${txn}, and a power failure could take it`)
  }

  /**
   * Another server has become the master, and has waited for as long as the lease of the old one lasts. Null: the old
   * one can be reached again, and may be led to believe that it is in time.
   */
  over(history: History | null): void {
    this.#over = history
  }

  /** What was acknowledged because this slave has it; null when nothing was. */
  debtOf(node: Node): Debt | null {
    return this.#debts.get(node) ?? null
  }

  /** It is about to lose what it holds, and may. */
  forgive(node: Node): void {
    this.#debts.delete(node)
    const log = decodeLog(node.machine.disk, node.layout.log)
    const disk = node.machine.disk
    const { appliedTxn, receivedTxn } = node
    const stored = log.segments.flatMap(({ path, blocks }) =>
      blocks.filter(({ offset }) => disk.isDurable(path, offset)),
    )
    const durableTxn = stored.at(-1)?.txn ?? log.firstTxn - 1
    const lineage = this.#checker.historyOf(log)
    this.#before.set(node, (history, txn) => {
      const same = lineage !== null && continues(lineage, history, txn)
      return {
        received: receivedTxn >= txn,
        durable: same && durableTxn >= txn,
        applied: same && appliedTxn >= txn,
      }
    })
  }

  /** Whatever has happened to it, all that was acknowledged is there. */
  look(node: Node): void {
    if (node.damaged || node.inFlux || node.comingBack) return
    this.#checker.checks++
    const debts = [this.#debts.get(node), this.#checker.masterDebt(node)]
    for (const debt of debts) {
      if (
        debt === undefined ||
        debt.txn === 0 ||
        this.#standing(node, debt.history, debt.txn).durable
      )
        continue
      const { lastTxn } = decodeLog(node.machine.disk, node.layout.log)
      throw new Violation(
        `${node.name} holds transaction ${lastTxn}; it was counted on for ${debt.txn}, which was acknowledged`,
      )
    }
  }

  #checkLease(node: Node, what: string): void {
    if (this.leaseMs === 0) return
    const silent = node.world.scheduler.now - node.machine.heardMs
    if (silent <= this.leaseMs) return
    throw new Violation(
      `${what} with a lease of ${this.leaseMs} ms, and has heard from nobody for ${silent.toFixed(0)} ms`,
    )
  }

  #standing(node: Node, history: History, txn: number): Standing {
    const { disk } = node.machine
    const log = decodeLog(disk, node.layout.log)
    const segment = log.segments.findLast(({ firstTxn }) => firstTxn <= txn) ?? log.segments[0]
    const lineage = segment === undefined ? null : this.#checker.historyNamed(segment.lineage)
    // It may lie in the memory of a process alone, and the log have nothing of the timeline yet.
    const received = node.receivedTxn >= txn
    if (segment === undefined || lineage === null || !continues(lineage, history, txn)) {
      return { received, durable: false, applied: false }
    }
    const applied = node.appliedTxn >= txn
    if (txn > log.lastTxn) return { received, durable: false, applied }
    const found = segment.transactions[txn - segment.firstTxn]
    const given = history.at(txn)
    if (found !== undefined && given !== undefined && !sameTransaction(found, given)) {
      const text = found.map(recordText).join('; ').slice(0, 300)
      throw new Violation(`${node.name}: transaction ${txn} is "${text}", not as it was given`)
    }
    // A segment that was removed leaves those behind it to speak for it.
    const block = segment.blocks.find(block => block.txn >= txn)
    const durable = disk.isDurable(segment.path, block?.offset ?? 0)
    return { received: received || durable, applied, durable }
  }
}

/** Whether transaction `txn` of a history is one of `lineage` as well. */
function continues(lineage: History, history: History, txn: number): boolean {
  const owner = (of: History) => {
    let at = of
    while (at.parent !== null && txn <= at.fork) at = at.parent
    return at
  }
  return owner(lineage) === owner(history)
}
