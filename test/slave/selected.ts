// Transactions about some files ahead of the others: whatever is selected, in whatever order and with crashes in
// between, the selected files stand where the log says, the others do not move, and in the end all is as if nobody had
// chosen.
import fc from 'fast-check'
import t from 'tap'
import type { Filter } from '../../src/slave/selected.ts'
import { holds } from '../helpers/database-history.ts'
import { failure } from '../helpers/log-samples.ts'
import { SlaveAtHand } from '../helpers/slave-at-hand.ts'

const names = ['A F', 'A G', 'B F'] as const
type Name = (typeof names)[number]

interface Op {
  readonly name: Name
  readonly act: 'write' | 'delete' | 'clear' | 'drop'
  readonly id: string
}

/** What a transaction did, with what it found. */
interface Done {
  readonly txn: number
  readonly ops: readonly { readonly name: Name; readonly change: (world: World) => void }[]
}

type World = Map<Name, Map<string, string>>

const accountOf = (name: Name) => name.slice(0, 1)
const fileOf = (name: Name) => name.slice(2)

class Slave extends SlaveAtHand {
  readonly done: Done[] = []
  /** As of the end of the log. */
  readonly #world: World = new Map()
  readonly #numbers = new Map<Name, number>()
  readonly #accounts = new Set<string>()
  #next = 1

  static async make(): Promise<Slave> {
    const slave = new Slave()
    await slave.open(false)
    return slave
  }

  async transaction(ops: readonly Op[]): Promise<void> {
    const txn = this.log.lastTxn + 1
    const done: Done['ops'][number][] = []
    const account = accountOf(ops[0]!.name)
    if (!this.#accounts.has(account)) {
      this.#accounts.add(account)
      this.log.begin().createAccount(account)
      this.log.commit()
      this.done.push({ txn, ops: [] })
      return this.transaction(ops)
    }
    const records = this.log.begin()
    for (const { name, act, id } of ops) {
      const attributes = { account: accountOf(name), file: fileOf(name), modulo: 3 }
      let number = this.#numbers.get(name)
      if (!this.#accounts.has(attributes.account)) continue
      let change: (world: World) => void
      if (number === undefined) {
        number = this.#next++
        this.#numbers.set(name, number)
        records.createFile(number, attributes)
        change = world => void world.set(name, new Map())
      } else {
        this.log.ensureMapped(number, attributes)
        if (act === 'write') {
          records.writeItem(number, id, String(txn))
          change = world => void world.get(name)!.set(id, String(txn))
        } else if (act === 'delete') {
          records.deleteItem(number, id)
          change = world => void world.get(name)!.delete(id)
        } else if (act === 'clear') {
          records.clearFile(number)
          change = world => world.get(name)!.clear()
        } else {
          records.deleteFile(number)
          this.#numbers.delete(name)
          change = world => void world.delete(name)
        }
      }
      change(this.#world)
      done.push({ name, change })
    }
    this.log.commit()
    await this.log.synced()
    this.done.push({ txn, ops: done })
  }

  /** What the database should hold when these transactions have been applied. */
  expected(applied: (done: Done) => boolean): string {
    const world: World = new Map()
    for (const done of this.done) {
      if (applied(done)) for (const { change } of done.ops) change(world)
    }
    return names.map(name => `${name}: ${itemsText(world.get(name))}`).join('\n')
  }

  shown(): string {
    return names
      .map(name => {
        const file = this.database.file(accountOf(name), fileOf(name))
        if (file === undefined) return `${name}: none`
        const items = new Map<string, string>()
        for (const id of 'abc') {
          const value = file.read(Buffer.from(id))
          if (value !== null) items.set(id, value.toString())
        }
        return `${name}: ${itemsText(items)}`
      })
      .join('\n')
  }
}

function itemsText(items: Map<string, string> | undefined): string {
  if (items === undefined) return 'none'
  return [...items.entries()]
    .map(item => item.join())
    .sort()
    .join(' ')
}

const fits = ({ account, file }: Filter, name: Name) =>
  (account ?? accountOf(name)) === accountOf(name) && (file ?? fileOf(name)) === fileOf(name)

const op = fc.record({
  name: fc.constantFrom(...names),
  act: fc.constantFrom('write' as const, 'write', 'write', 'delete', 'clear', 'drop'),
  id: fc.constantFrom('a', 'b', 'c'),
})
const transaction = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(op) },
  { weight: 1, arbitrary: fc.tuple(op, op) },
)
const call = fc.record({
  filter: fc.record({
    account: fc.constantFrom('A', 'B', null),
    file: fc.constantFrom('F', 'G', null),
  }),
  share: fc.integer({ min: 0, max: 10 }),
  act: fc.constantFrom('selected', 'selected', 'all', 'crash', 'restart'),
})

t.test('whatever is applied ahead, all is right, and in the end all is the same', async t => {
  let refusals = 0
  let ahead = 0
  const property = fc.asyncProperty(
    fc.array(transaction, { minLength: 1, maxLength: 30 }),
    fc.array(call, { minLength: 1, maxLength: 8 }),
    async (transactions, calls) => {
      const slave = await Slave.make()
      for (const ops of transactions) await slave.transaction(ops)
      await slave.log.synced()
      const applied = new Set<number>()
      for (const { filter, share, act } of calls) {
        const txn = Math.round((slave.log.lastTxn * share) / 10)
        if (act === 'crash') await slave.crash(false)
        if (act === 'restart') {
          await slave.close()
          await slave.open(false)
        }
        if (act === 'all') {
          await slave.replayer.applyUntil({ txn })
          for (const done of slave.done) if (done.txn <= txn) applied.add(done.txn)
        }
        if (act === 'selected') {
          const { appliedTxn } = slave.replayer
          const within = slave.done.filter(done => done.txn > appliedTxn && done.txn <= txn)
          const pending = within.filter(done => !applied.has(done.txn))
          const about = (done: Done) => done.ops.map(({ name }) => fits(filter, name))
          // A transaction that creates an account has no file; it says nothing of the items.
          const mixed = pending.some(done => new Set(about(done)).size > 1)
          if (filter.account === null && filter.file === null) continue
          const work = slave.replayer.applySelected(filter, { txn }, () => {})
          if (mixed) {
            const { message } = await failure(work, 'ERR_UNSAFE')
            if (!message.includes('never split')) throw new Error(message)
            refusals++
          } else {
            const chosen = pending.filter(done => about(done).includes(true))
            const counted = await work
            if (counted.applied !== counted.selected) throw new Error(JSON.stringify(counted))
            if (counted.selected < chosen.length) throw new Error(`only ${counted.selected}`)
            for (const done of chosen) applied.add(done.txn)
            ahead += chosen.length
          }
          if (slave.replayer.appliedTxn !== appliedTxn) throw new Error('the slave has moved')
        }
        const [shown, expected] = [slave.shown(), slave.expected(({ txn: at }) => applied.has(at))]
        if (shown !== expected) throw new Error(`after ${act}:\n${shown}\nand not\n${expected}`)
      }
      await slave.replayer.applyUntil({})
      if (slave.shown() !== slave.expected(() => true))
        throw new Error(`at the end ${slave.shown()}`)
      const lost = slave.alarms.length + slave.said.length
      if (lost > 0) throw new Error(`${slave.alarms.join()} ${slave.said.join()}`)
      await slave.close()
    },
  )
  await holds(t, 'any selections', property, 150)
  t.ok(refusals > 0, `${refusals} refused`)
  t.ok(ahead > 30, `${ahead} applied ahead`)
})
