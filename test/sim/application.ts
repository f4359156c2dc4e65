// An application: opens a master, updates it at random, and remembers what it was told. What it has done goes into
// the model as it is done; what it is told is held against the servers by the checker.
import type { CommitLevel } from '../../src/config/policies.ts'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import type { Platform } from '../../src/platform/platform.ts'
import { Master } from '../../src/server/master.ts'
import type { Checker } from './checker.ts'
import { itemIds } from './contents.ts'
import { recordText, type History, type ModelRecord, type State } from './model.ts'
import { checkExpected, type Node } from './nodes.ts'
import type { Oracle } from './oracle.ts'
import type { SimProcess } from './world/process.ts'
import type { SeededRandom } from './world/random.ts'

/** An update, and what the model will say of it. */
interface Planned {
  readonly records: readonly ModelRecord[]
  readonly run: () => Promise<unknown>
  readonly items: boolean
  readonly level: CommitLevel
}

/** How the applications of a story behave. */
export interface Manners {
  /** Pause between two updates, milliseconds at most. */
  readonly pauseMs: number
  /** Bytes of the largest items. */
  readonly itemBytes: number
  /** Levels that updates ask for. */
  readonly levels: readonly (CommitLevel | undefined)[]
  readonly localFiles: boolean
  /** Resizes, clears and the like, among all. */
  readonly longPart: number
}

/** By hb-segment(5). */
const fileFlags = { local: 1, filling: 4 } as const
const isLocal = (flags: number) => (flags & fileFlags.local) !== 0

const accounts = ['SALES', 'STOCK'] as const
const files = ['ORDERS', 'ITEMS', 'NOTES'] as const

/** Errors with which an update may be refused, or its outcome be unknown. */
const refusals = [
  'ERR_STOPPED',
  'ERR_CLOSED',
  'ERR_FENCED',
  'ERR_LEASE',
  'ERR_UNCONFIRMED',
  'ERR_NO_SLAVE',
  'ERR_DISK',
  'ERR_DISK_FULL',
  'ERR_QUEUE_FULL',
] as const

export class Application {
  readonly node: Node
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<void>
  /** It was told that the server is no master any more. */
  fenced = false
  master: Master | null = null
  history: History | null = null
  readonly #process: SimProcess
  readonly #checker: Checker
  readonly #oracle: Oracle
  readonly #manners: Manners
  readonly #random: SeededRandom
  readonly #others: readonly Node[]
  #leaving = false
  /** Updates are done without the slaves, and it was told so. */
  #alone = false
  /** It keeps the master open, and does nothing. */
  quiet = false
  pauseMs: number
  /** An update that must wait until there is room in the queue: nothing else is asked for before that. */
  #waiting: Promise<void> | null = null
  #wake: () => void = () => {}

  constructor(
    node: Node,
    others: readonly Node[],
    [checker, oracle]: readonly [Checker, Oracle],
    manners: Manners,
    random: SeededRandom,
  ) {
    this.node = node
    this.#others = others
    this.#checker = checker
    this.#oracle = oracle
    this.#manners = manners
    this.pauseMs = manners.pauseMs
    this.#random = random
    const { process, platform } = node.machine.spawn('app')
    this.#process = process
    const died = new Promise<void>(resolve => process.onEnd(resolve))
    this.ended = Promise.race([died, this.#live(platform)])
  }

  get process(): SimProcess {
    return this.#process
  }

  /** It closes the master, and ends. */
  leave(): void {
    this.#leaving = true
    this.#wake()
  }

  async #live(platform: Platform): Promise<void> {
    const { node } = this
    try {
      const master = await Master.open(node.layout.directory, {
        platform,
        onEvent: ({ type, message }) => {
          node.world.note(`${node.name}: app: ${message}`)
          if (type === 'alone' || type === 'in-step') this.#alone = type === 'alone'
          // Only what it says of that makes up for segments that have gone before their time.
          if (type !== 'slave-dropped') return
          for (const each of [node, ...this.#others]) each.copiesExpected = true
        },
      })
      const history = this.#checker.opened(node, master.lastTxn, this.#others)
      this.history = history
      history.openBy = this.#process
      this.#process.onEnd(() => {
        if (history.openBy === this.#process) history.openBy = null
      })
      node.world.note(`${node.name}: app ${this.#process.pid} has opened it at ${master.lastTxn}`)
      this.master = master
      await this.#work(master, platform)
      this.master = null
      await master.close()
      node.world.note(`${node.name}: app ${this.#process.pid} has closed it`)
    } catch (error) {
      if (!this.#process.dead) {
        node.world.note(`${node.name}: app ${this.#process.pid} ends: ${String(error)}`)
        if (error instanceof Error && !(error instanceof HotBackupError)) node.world.fail(error)
        checkExpected(node, error)
      }
    }
    this.master = null
    this.#process.end(0, null)
  }

  async #work(master: Master, platform: Platform): Promise<void> {
    // What the status says is for operators: an application goes by what it is told.
    while (!this.#leaving && !this.fenced) {
      const burst = this.#random.chance(0.1) ? this.#random.int(2, 6) : 1
      if (this.quiet && master.status().failure !== null) return
      while (this.#waiting !== null && !this.#leaving) {
        const woken = new Promise<void>(resolve => {
          this.#wake = resolve
        })
        await Promise.race([this.#waiting, woken])
      }
      const updates = this.quiet ? 0 : burst
      let last: Promise<void> = Promise.resolve()
      for (let i = 0; i < updates && this.#waiting === null; i++) last = this.#update(master)
      if (this.#random.chance(0.3)) await last
      if (updates > 0 && this.#random.chance(0.03)) await this.#guarded(master.checkpoint())
      await new Promise<void>(resolve => {
        this.#wake = resolve
        platform.clock.after(this.#random.fraction() * this.pauseMs, resolve)
      })
    }
  }

  async #guarded(work: Promise<unknown>): Promise<void> {
    try {
      await work
    } catch (error) {
      if (this.#process.dead) return
      if (isHotBackupError(error, 'ERR_FENCED')) this.fenced = true
      if (isHotBackupError(error, 'ERR_STOPPED', 'ERR_CLOSED')) this.#leaving = true
      if (
        this.node.damaged &&
        isHotBackupError(error, 'ERR_DATABASE_CORRUPT', 'ERR_GROUP_DAMAGED')
      ) {
        this.node.damageTold = error.message
        return
      }
      if (!isHotBackupError(error, ...refusals)) this.node.world.fail(error)
    }
  }

  /** One random update, or a read. Resolves when its outcome is known. */
  #update(master: Master): Promise<void> {
    const { history } = this
    if (history === null) return Promise.resolve()
    // What the model lacks the master has written by itself: it is in the log by now, or will be looked for later.
    if (!this.#known(history, master.lastTxn)) return Promise.resolve()
    const state = history.stateAt(master.lastTxn)
    const random = this.#random
    if (random.chance(0.2)) return this.#read(master, state)
    const level = random.pick(this.#manners.levels)
    const planned = this.#plan(master, state, level)
    if (planned === null) return Promise.resolve()
    const before = master.lastTxn
    const outcome = planned.run()
    if (master.lastTxn > before) {
      const txn = master.lastTxn
      history.set(txn, planned.records)
      // Items come in numbers, and say nothing to the reader of a history.
      if (!planned.items) {
        this.node.world.note(
          `${this.node.name}: app ${txn}: ${planned.records.map(recordText).join('; ')}`,
        )
      }
      return this.#guarded(outcome.then(() => this.#acknowledged(history, txn, planned)))
    }
    return this.#later(history, planned, outcome)
  }

  /** It is refused, or waits: then the log says which transaction it became. */
  #later(history: History, planned: Planned, outcome: Promise<unknown>): Promise<void> {
    const { records } = planned
    const waiting = { records, txn: 0 }
    history.waiting = waiting
    const done = outcome.then(() => {
      if (this.#process.dead) return
      this.#checker.log(this.node)
      if (waiting.txn > 0) this.#acknowledged(history, waiting.txn, planned)
      // The checker does not read past damage: it may meet it in another server's log.
      else if (!this.node.damaged)
        this.node.world.fail(new Error('an update has waited, is done, and is not logged'))
    })
    const settled = this.#guarded(done).finally(() => {
      this.#waiting = null
      // Of one that failed it is not known whether it was logged; when the process has died the next one will see.
      if (this.#process.dead) return
      this.#checker.log(this.node)
      const unread = waiting.txn === 0 && this.node.damaged
      if (history.waiting === waiting && !unread) history.waiting = null
    })
    this.#waiting = settled
    return settled
  }

  #known(history: History, last: number): boolean {
    if (history.known < last) this.#checker.log(this.node)
    return history.known >= last
  }

  #acknowledged(history: History, txn: number, { level }: Planned): void {
    if (this.#process.dead) return
    this.#oracle.acknowledged(this.node, history, txn, this.#alone ? 'local' : level)
  }

  #read(master: Master, state: State): Promise<void> {
    // What was changed a moment ago is what a reader must not see too early.
    const changed = [...state.files].reduce<readonly [string, number]>(
      (latest, [name, { lastTxn }]) => (lastTxn > latest[1] ? [name, lastTxn] : latest),
      ['none', 0],
    )[0]
    const any = () => this.#random.pick([...state.files.keys(), 'none'])
    const name = this.#random.chance(0.5) ? changed : any()
    const file = state.files.get(name)
    const id = this.#id()
    const expected = file?.items.get(id)
    if (file === undefined) return Promise.resolve()
    const { history, node } = this
    const txn = file.lastTxn
    const [account, fileName] = name.split('/') as [string, string]
    const seen = (value: Buffer | null) => {
      if (this.#process.dead) return
      const same = expected === undefined ? value === null : value?.equals(expected) === true
      if (!same) {
        node.world.fail(new Error(`${name} ${id} was read, and is not what was written at ${txn}`))
      }
      // Whoever has read it may act on it.
      if (history !== null) this.#oracle.seen(node, history, txn)
    }
    try {
      return this.#guarded(master.account(account).file(fileName).read(id).then(seen))
    } catch (error) {
      return this.#guarded(Promise.reject(error as Error))
    }
  }

  #id(): string {
    return this.#random.pick(itemIds)
  }

  /** Text that no other update has, and as many bytes as it wants. */
  #value(): Buffer {
    const { itemBytes } = this.#manners
    const length = this.#random.chance(0.15)
      ? this.#random.int(1, itemBytes)
      : this.#random.int(8, 120)
    const value = Buffer.alloc(length, '.')
    value.write(`v${this.#checker.values++}`, 0, 'latin1')
    return value
  }

  #plan(master: Master, state: State, level: CommitLevel | undefined): Planned | null {
    const random = this.#random
    const name = `${random.pick(accounts)}/${random.pick(files)}`
    const [account, fileName] = name.split('/') as [string, string]
    const options = level === undefined ? {} : { level }
    const make = (records: ModelRecord[], run: () => Promise<unknown>, items = false): Planned => {
      // What is neither asked for nor said in hb.toml is done when it is durable here.
      const asked = items ? level : undefined
      const said = records.some(({ kind }) => kind === 'set') ? 'local' : this.node.commitLevel
      // Whatever is thrown at once is an outcome as well.
      return { records, run: () => attempt(run), items, level: asked ?? said }
    }
    if (!state.accounts.has(account)) {
      return make([{ kind: 'account', account }], () => master.createAccount(account))
    }
    const there = state.files.get(name)
    if (there === undefined) {
      const modulo = random.int(1, 5)
      const local = this.#manners.localFiles && random.chance(0.2)
      const record = { kind: 'create', file: name, modulo, flags: local ? 1 : 0 } as const
      return make([record], () => master.account(account).createFile(fileName, { modulo, local }))
    }
    const file = () => master.account(account).file(fileName)
    if (random.chance(this.#manners.longPart)) {
      const toggled = this.#manners.localFiles ? 2 : 0
      switch (random.weighted({ clear: 3, resize: 6, drop: 2, dropAccount: 0.5, toggled })) {
        case 'clear':
          return make([{ kind: 'clear', file: name }], () => file().clear())
        case 'resize': {
          const modulo = random.int(1, 9)
          return make([{ kind: 'resize', file: name, modulo }], () => file().resize(modulo))
        }
        case 'drop':
          return make([{ kind: 'drop', file: name }], () =>
            master.account(account).deleteFile(fileName),
          )
        case 'toggled': {
          const local = !isLocal(there.flags)
          const flags = local ? fileFlags.local : fileFlags.filling
          return make([{ kind: 'set', file: name, flags }], () => file().setLocal(local))
        }
        case 'dropAccount': {
          const gone = [...state.files.keys()].filter(key => key.startsWith(`${account}/`)).sort()
          const drops = gone.map(key => ({ kind: 'drop', file: key }) as const)
          return make([...drops, { kind: 'drop-account', account }], () =>
            master.deleteAccount(account),
          )
        }
      }
    }
    if (random.chance(0.15)) {
      const ids = new Set(Array.from({ length: random.int(2, 6) }, () => this.#id()))
      const changes = [...ids].map(id => ({ id, value: this.#value() }))
      const records = changes.map(({ id, value }): ModelRecord => {
        return { kind: 'write', file: name, id, value }
      })
      const work = () =>
        master.transaction(transaction => {
          for (const { id, value } of changes) transaction.write(file(), id, value)
        }, options)
      return make(records, work, true)
    }
    const id = this.#id()
    if (random.chance(0.2) && there.items.has(id)) {
      return make([{ kind: 'delete', file: name, id }], () => file().delete(id, options), true)
    }
    const value = this.#value()
    return make(
      [{ kind: 'write', file: name, id, value }],
      () => file().write(id, value, options),
      true,
    )
  }
}

function attempt(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return run()
  } catch (error) {
    return Promise.reject(error as Error)
  }
}
