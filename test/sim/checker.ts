// What must be so whatever happens. It looks at what lies on the disks (by log-decoder.ts and database-decoder.ts), at
// what readers see (probe.ts) and at what servers were told of each other, and compares it with what the applications
// have done (model.ts). What the applications were told is the oracle's (oracle.ts).
import { crc32 } from 'node:zlib'
import type { Database } from '../../src/database/database.ts'
import { contentsOf, difference, storedContents } from './contents.ts'
import { decodeLog, decodeSegment, transactionsOf, type DecodedLog } from './log-decoder.ts'
import { History, recordText, sameTransaction, type ModelTransaction } from './model.ts'
import type { Node } from './nodes.ts'
import { Violation } from './violation.ts'

/** What a server has been told by another one that it holds. */
export interface Claim {
  readonly by: string
  readonly durableTxn: number
  readonly durableChain: number
  readonly appliedTxn: number
}

export class Checker {
  readonly #histories = new Map<string, History>()
  /** Who has been the master of a timeline. */
  readonly #masters = new Map<string, Node>()
  readonly #retired = new Set<History>()
  /** Masters write by themselves as soon as they are open. */
  busyMasters = false
  /** Checks made, to be told of. */
  checks = 0
  /** Values that the applications have made: no two are alike. */
  values = 0

  // ---- What the applications do ----

  /** A master has been opened, and stands at `last`: what was acknowledged is there, and nobody has more. */
  opened(node: Node, last: number, others: readonly Node[]): History {
    if (node.damaged) return this.#openedDamaged(node, last)
    const log = this.log(node)
    const history = this.historyOf(log)
    if (history === null) throw new Violation(`${node.name}: an open master has no log`)
    const master = this.#masters.get(history.lineage)
    if (master !== undefined && master !== node) {
      throw new Violation(`${node.name} and ${master.name} both take updates of one timeline`)
    }
    this.#masters.set(history.lineage, node)
    // It may have begun to verify its slaves, say.
    const more = this.busyMasters && last > log.lastTxn
    if (last !== log.lastTxn && !more) {
      throw new Violation(`${node.name}: opened at ${last}, and its log ends at ${log.lastTxn}`)
    }
    history.waiting = null
    this.#checkHolds(node, history, last, 'is open')
    for (const other of others) {
      const their = decodeLog(other.machine.disk, other.layout.log)
      if (
        other === node ||
        other.damaged ||
        their.lineage !== history.lineage ||
        their.lastTxn <= last
      )
        continue
      throw new Violation(
        `${other.name} holds transaction ${their.lastTxn}, its master ${node.name} only ${last}`,
      )
    }
    history.cut(log.lastTxn)
    return history
  }

  /** Its log cannot be relied on, but it may have come up all the same. */
  #openedDamaged(node: Node, last: number): History {
    const history = this.histories().at(-1)
    if (history === undefined) throw new Violation('there is no history')
    this.#checkHolds(node, history, last, 'was damaged, says nothing of it, and')
    return history
  }

  masterOf(history: History): Node | null {
    return this.#masters.get(history.lineage) ?? null
  }

  /** It becomes a slave, and gives up what its new master lacks: then it need not hold what it has acknowledged. */
  retire(node: Node): void {
    for (const history of this.histories()) {
      if (this.masterOf(history) === node) this.#retired.add(history)
    }
  }

  /** What the node has acknowledged last as a master, and must still hold. */
  masterDebt(node: Node): { readonly history: History; readonly txn: number } | undefined {
    const history = this.histories().findLast(
      history => this.masterOf(history) === node && !this.#retired.has(history),
    )
    return history === undefined ? undefined : { history, txn: history.acknowledged }
  }

  /** Transactions that were saved at `path`, as a segment. */
  saved(node: Node, path: string): { holds(txn: number, given: ModelTransaction): boolean } {
    const segment = decodeSegment(node.machine.disk.file(path), path)
    return {
      holds: (txn, given) => {
        const found = segment?.transactions[txn - segment.firstTxn]
        return found !== undefined && sameTransaction(found, given)
      },
    }
  }

  // ---- Logs ----

  /** The log of a node, checked: each transaction whole, as it was given to the master, in its place. */
  log(node: Node): DecodedLog {
    const log = decodeLog(node.machine.disk, node.layout.log)
    this.#learn(log)
    for (const { txn, lineage, transaction } of transactionsOf(log)) {
      const history = this.#histories.get(lineage)!
      this.#checkTransaction(node, history, txn, transaction)
    }
    this.checks++
    return log
  }

  historyOf(log: DecodedLog): History | null {
    return this.historyNamed(log.lineage)
  }

  historyNamed(lineage: string): History | null {
    return this.#histories.get(lineage) ?? null
  }

  /** Timelines that are new. */
  #learn(log: DecodedLog): void {
    let before: string | null = null
    for (const { lineage, firstTxn } of log.segments) {
      if (!this.#histories.has(lineage)) {
        // The segments before may have gone already: then it forks from the timeline that was the last one.
        const parent = this.#histories.get(before ?? '') ?? [...this.#histories.values()].at(-1)
        if (parent === undefined && firstTxn !== 1) {
          throw new Violation(`timeline ${lineage} comes out of nowhere at ${firstTxn}`)
        }
        this.#histories.set(lineage, new History(lineage, parent ?? null, firstTxn - 1))
      }
      before = lineage
    }
  }

  #checkTransaction(node: Node, history: History, txn: number, found: ModelTransaction): void {
    const given = history.at(txn)
    if (given !== undefined) {
      if (sameTransaction(given, found)) return
      if (this.#replaces(history, txn, found)) {
        history.cut(txn - 1)
        history.set(txn, found)
        return
      }
      throw new Violation(
        `${node.name}: transaction ${txn} is "${text(found)}", and "${text(given)}" was given to the master`,
      )
    }
    const { waiting } = history
    if (waiting?.txn === 0 && sameTransaction(waiting.records, found)) {
      waiting.txn = txn
      history.set(txn, waiting.records)
      return
    }
    if (txn <= history.fork || !this.#isOwn(history, txn, found)) {
      throw new Violation(`${node.name}: nobody has made transaction ${txn}: "${text(found)}"`)
    }
    history.set(txn, found)
  }

  /** A command has opened the master that an application had left behind without having been told of the end. */
  #replaces(history: History, txn: number, found: ModelTransaction): boolean {
    if (history.openBy !== null || txn <= history.acknowledged || txn <= history.fork) return false
    return this.#isOwn(history, txn, found)
  }

  /** What a master writes by itself: marks, its promotion, and items again as they are. */
  #isOwn(history: History, txn: number, found: ModelTransaction): boolean {
    if (found.length === 0) return false
    return found.every(record => {
      if (record.kind === 'promote' || record.kind === 'mark' || record.kind === 'set') return true
      if (record.kind !== 'write') return false
      const file = history.stateAt(txn - 1).files.get(record.file)
      return file?.items.get(record.id)?.equals(record.value) === true
    })
  }

  // ---- What was promised ----

  /** What `node` is said to hold, by those who send to it. */
  claims(node: Node, others: readonly Node[]): Claim[] {
    return others.flatMap(other => {
      const path = `${other.layout.slaves}/${node.name}.ack`
      const file = other === node ? null : other.machine.disk.file(path)
      const bytes = file?.bytes.subarray(0, file.size)
      if (bytes === undefined || bytes.length !== 112) return []
      if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8))) return []
      // A server that was set up anew is another one.
      if (bytes.toString('hex', 56, 72) !== node.serverId) return []
      const number = (offset: number) => Number(bytes.readBigUInt64LE(offset))
      return [
        {
          by: other.name,
          durableTxn: number(24),
          durableChain: bytes.readUInt32LE(12),
          appliedTxn: number(32),
        },
      ]
    })
  }

  /** After its power has failed: what was promised of it is there all the same. */
  afterPowerFailure(node: Node, claims: readonly Claim[]): void {
    const log = this.log(node)
    const history = this.historyOf(log)
    if (history !== null && this.#masters.get(history.lineage) === node) {
      this.#checkHolds(node, history, log.lastTxn, 'has lost its power and')
    }
    for (const claim of claims) {
      if (claim.durableTxn === 0 || claim.durableTxn < log.firstTxn) continue
      if (this.isKept(node, claim)) continue
      throw new Violation(
        `${claim.by} was told that ${node.name} holds transaction ${claim.durableTxn}, and after a power failure it ends at ${log.lastTxn}`,
      )
    }
  }

  /** The node holds the transaction of which another one believes so, in the same history. */
  isKept(node: Node, { durableTxn, durableChain }: Claim): boolean {
    const { segments } = this.log(node)
    const blocks = segments.flatMap(segment => segment.blocks)
    if (blocks.some(({ txn, crc }) => txn === durableTxn && crc === durableChain)) return true
    return segments[0]?.firstTxn === durableTxn + 1 && segments[0].chain === durableChain
  }

  #checkHolds(node: Node, history: History, last: number, when: string): void {
    if (last >= history.acknowledged || this.#retired.has(history)) return
    throw new Violation(
      `${node.name} ${when} has transaction ${last}; ${history.acknowledged} was acknowledged`,
    )
  }

  // ---- Databases ----

  /** What readers see is what the history says at the transaction that is applied. */
  database(node: Node, database: Database, replica: boolean): void {
    if (database.failure !== null || database.broken) return
    const txn = database.appliedTxn
    const history = this.#historyWith(this.log(node), txn)
    if (history === null) return
    this.checks++
    // A mark of the master's own that its log has not written yet, or never will, changes nothing that readers see.
    const known = replica ? txn : Math.min(txn, history.known)
    // It may have let in what waited, a moment ago.
    if (known < txn && history.waiting !== null) return
    const strict = replica && this.#neverMaster(node)
    const problem = difference(contentsOf(database), history.stateAt(known), strict)
    if (problem === null) return
    throw new Violation(`${node.name}, at transaction ${txn}: ${problem}`)
  }

  /** What lies in the data files is what the history says at their stamp, whether anybody has them open or not. */
  stored(node: Node): void {
    if (node.inFlux) return
    const contents = storedContents(node.machine.disk, node.layout.database)
    if (contents === null) return
    if (typeof contents === 'string') {
      throw new Violation(`the data files of ${node.name} are damaged: ${contents}`)
    }
    const { txn } = contents
    const log = this.log(node)
    const history = this.#historyWith(log, txn)
    if (history === null) return
    this.checks++
    if (txn > log.lastTxn) {
      throw new Violation(`the data files of ${node.name} hold ${txn}, its log ${log.lastTxn}`)
    }
    const strict = node.type === 'slave' && this.#neverMaster(node)
    const problem = difference(contents, history.stateAt(txn), strict)
    if (problem === null) return
    throw new Violation(`the data files of ${node.name}, at transaction ${txn}: ${problem}`)
  }

  /** An old master keeps what was its own. */
  #neverMaster(node: Node): boolean {
    return ![...this.#masters.values()].includes(node)
  }

  /** The timeline of the log to which a transaction belongs. */
  #historyWith(log: DecodedLog, txn: number): History | null {
    const segment = log.segments.findLast(({ firstTxn }) => firstTxn <= txn) ?? log.segments[0]
    return segment === undefined ? null : (this.#histories.get(segment.lineage) ?? null)
  }

  histories(): readonly History[] {
    return [...this.#histories.values()]
  }
}

function text(transaction: ModelTransaction): string {
  return transaction.map(recordText).join('; ').slice(0, 300)
}
