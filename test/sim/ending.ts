// How a story ends: all plugs are pulled. Then it is over, or the servers come back and must come into step, or
// something is damaged that was at rest, or the master comes back with what it had some time before, and must not be
// followed by those who hold more.
import { isHotBackupError } from '../../src/errors.ts'
import { Master } from '../../src/server/master.ts'
import { contentsOf, difference, itemIds } from './contents.ts'
import { Failover } from './failover.ts'
import { decodeLog } from './log-decoder.ts'
import type { Node } from './nodes.ts'
import type { Story } from './story.ts'
import { Violation } from './violation.ts'

/** So many are more than any story has. */
const updatesMax = 5000

export class Ending {
  readonly #story: Story
  readonly #kind: 'over' | 'again' | 'damage' | 'set back'
  /** Sets the master's disk back; null before it has been remembered. */
  #back: (() => void) | null = null

  /** `setBack`: the master of the beginning is that of the end. */
  constructor(story: Story, setBack: boolean) {
    this.#story = story
    const { random, world } = story
    this.#kind = random.weighted({ over: 5, again: 3, damage: 2, 'set back': setBack ? 2 : 0 })
    if (this.#kind !== 'set back') return
    world.scheduler.after(random.between(100, 1500), null, () => {
      const { attended, machine } = story.master
      if (!attended) this.#back = machine.disk.remember()
    })
  }

  /** What was acknowledged must be there, by what lies on the disks. */
  async run(): Promise<void> {
    const story = this.#story
    for (const node of story.nodes) story.powerFails(node, 'all')
    if (this.#kind === 'over') return
    const acknowledged = story.checker.histories().at(-1)?.acknowledged ?? 0
    const damaged = this.#kind === 'damage' ? this.#damage() : null
    const setBack = this.#back !== null && this.#setBack(this.#back)
    for (const node of story.nodes) node.machine.boots()
    if (damaged !== null) {
      await this.#damageIsMet(damaged, acknowledged)
      return
    }
    if (setBack) await this.#masterIsReplaced()
    await story.intoStep('after the last power failure')
  }

  /** False when its slaves have no more than the master has then. */
  #setBack(back: () => void): boolean {
    const { nodes, master, oracle, checker, world } = this.#story
    const lastOf = (node: Node) => decodeLog(node.machine.disk, node.layout.log).lastTxn
    const last = lastOf(master)
    oracle.forgive(master)
    master.comesBackAsBefore(back)
    const kept = lastOf(master)
    if (nodes.some(node => node !== master && lastOf(node) <= kept)) return false
    world.fault('master set back', `to ${kept} of ${last}`)
    checker.retire(master)
    // What it does from here on is no part of the history that its slaves have.
    master.damaged = true
    master.attended = true
    master.mustNotSend = true
    return true
  }

  /** It takes updates again, more than its slaves hold: they keep what they have, until one takes over. */
  async #masterIsReplaced(): Promise<void> {
    const story = this.#story
    const { master, random } = story
    const { exited, process } = master.machine.run('hb-shipper', ['-d', master.layout.directory])
    await story.sleep(random.between(0, 2000))
    const slaves = story.nodes.filter(node => node !== master)
    const held = Math.max(...slaves.map(node => story.checker.log(node).lastTxn))
    await master.command('app', async platform => {
      const opened = await Master.open(master.layout.directory, { platform })
      for (let left = updatesMax; left > 0 && opened.lastTxn <= held; left--) {
        this.#updateAnyhow(opened)
        await story.sleep(1)
      }
      await opened.close()
    })
    await story.sleep(3000)
    process.onTerminate()
    await exited
    story.look()
    await Failover.instead(story).complete()
  }

  /** Nobody waits for it: its slaves do not answer. */
  #updateAnyhow(master: Master): void {
    const unheard = (outcome: Promise<unknown>) => {
      outcome.catch((error: unknown) => {
        if (!isHotBackupError(error)) this.#story.world.fail(error)
      })
    }
    const [account] = master.accounts()
    if (account === undefined) return unheard(master.createAccount('SALES'))
    const [file] = master.account(account).files()
    if (file === undefined) return unheard(master.account(account).createFile('ORDERS'))
    const value = Buffer.from('another history')
    unheard(master.account(account).file(file).write(itemIds[0]!, value))
  }

  /**
   * A bit changes, or a sector becomes unreadable, while nobody looks, in what can be told from a torn end. Null: there
   * is no such place.
   */
  #damage(): Node | null {
    const { nodes, random, world, checker, oracle } = this.#story
    const node = random.pick(nodes)
    const { disk } = node.machine
    const paths = [...disk.filesBelow(node.layout.log), ...disk.filesBelow(node.layout.database)]
    const choices = paths.filter(([path, { size }]) => size > 0 && /\.log$|database/.test(path))
    if (choices.length === 0) return null
    const [path, file] = random.pick(choices)
    const segment = checker.log(node).segments.find(known => known.path === path)
    const offset = random.int(0, (segment?.end ?? file.size) - 1)
    if (segment !== undefined) {
      const at = segment.blocks.findIndex(block => offset < block.offset)
      const txn = segment.blocks[at - 1]?.txn ?? segment.firstTxn - 1
      if (!segment.blocks.slice(at + 1).some(({ promise }) => promise > txn)) return null
    }
    if (random.chance(0.3)) {
      world.fault('unreadable', `${path} of ${node.name}, byte ${offset}`)
      file.spoil(offset)
    } else {
      world.fault('damage', `${path} of ${node.name}, byte ${offset}`)
      file.damage(offset, 1 << random.int(0, 7))
    }
    oracle.forgive(node)
    node.damaged = true
    // A slave may take a new copy of what it finds damaged.
    for (const other of nodes) other.copiesExpected = true
    return node
  }

  /** Refused, mended or without effect: but nothing that was acknowledged is missing without a word. */
  async #damageIsMet(node: Node, acknowledged: number): Promise<void> {
    const { checker, world } = this.#story
    await this.#story.sleep(5000)
    this.#story.look()
    const open = node.database
    if (open === null || node.damageTold !== null) return
    const { database } = open
    const history = checker.histories().at(-1)
    if (history === undefined || database.failure !== null) return
    if (database.appliedTxn < acknowledged) {
      throw new Violation(
        `${node.name} was damaged, says nothing, and has ${database.appliedTxn} of ${acknowledged}`,
      )
    }
    world.onlooking = true
    try {
      const known = Math.min(database.appliedTxn, history.known)
      const problem = difference(contentsOf(database), history.stateAt(known), false)
      if (problem !== null)
        throw new Violation(`${node.name} was damaged, and shows it: ${problem}`)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT', 'ERR_GROUP_DAMAGED')) throw error
    } finally {
      world.onlooking = false
    }
  }
}
