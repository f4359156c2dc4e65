// What a database must hold, by plain Maps: a history of transactions and the state to which they lead. A promotion
// forks a history: each timeline goes its own way from there.

export type ModelRecord =
  | { readonly kind: 'write'; readonly file: string; readonly id: string; readonly value: Buffer }
  | { readonly kind: 'delete'; readonly file: string; readonly id: string }
  | {
      readonly kind: 'create'
      readonly file: string
      readonly modulo: number
      readonly flags: number
    }
  | { readonly kind: 'clear'; readonly file: string }
  | { readonly kind: 'resize'; readonly file: string; readonly modulo: number }
  | { readonly kind: 'drop'; readonly file: string }
  | { readonly kind: 'account'; readonly account: string }
  | { readonly kind: 'drop-account'; readonly account: string }
  | { readonly kind: 'promote'; readonly lineage: string }
  | { readonly kind: 'set'; readonly file: string; readonly flags: number }
  | { readonly kind: 'mark'; readonly what: string }

/** Whole or not at all. */
export type ModelTransaction = readonly ModelRecord[]

export interface ModelFile {
  modulo: number
  flags: number
  /** The last transaction that was about it. */
  lastTxn: number
  /** By item-id, as latin1. */
  readonly items: Map<string, Buffer>
}

/** Files by ACCOUNT/FILE. */
export class State {
  readonly accounts = new Set<string>()
  readonly files = new Map<string, ModelFile>()

  apply(transaction: ModelTransaction, txn: number): void {
    for (const record of transaction) {
      this.#apply(record)
      // What is said of a file as a whole no reader of its items sees.
      if (record.kind === 'set') continue
      const file = 'file' in record ? this.files.get(record.file) : undefined
      if (file !== undefined) file.lastTxn = txn
    }
  }

  #apply(record: ModelRecord): void {
    switch (record.kind) {
      case 'write':
        this.#file(record.file).items.set(record.id, record.value)
        return
      case 'delete':
        this.#file(record.file).items.delete(record.id)
        return
      case 'create':
        this.files.set(record.file, {
          modulo: record.modulo,
          flags: record.flags,
          lastTxn: 0,
          items: new Map(),
        })
        return
      case 'clear':
        this.#file(record.file).items.clear()
        return
      case 'resize':
        this.#file(record.file).modulo = record.modulo
        return
      case 'drop':
        this.files.delete(record.file)
        return
      case 'account':
        this.accounts.add(record.account)
        return
      case 'drop-account':
        this.accounts.delete(record.account)
        return
      case 'set':
        this.#file(record.file).flags = record.flags
        return
      case 'promote':
      case 'mark':
        return
      default:
        record satisfies never
    }
  }

  #file(name: string): ModelFile {
    const file = this.files.get(name)
    if (file === undefined) throw new Error(`the history names ${name}, which is not there`)
    return file
  }
}

/** One timeline: what has been given to its master, in order. */
export class History {
  readonly lineage: string
  readonly parent: History | null
  /** The last transaction that comes from the parent. */
  readonly fork: number
  /** Transaction `fork + 1 + n` at n. */
  readonly #own: (ModelTransaction | undefined)[] = []
  #state: State = new State()
  #stateTxn = 0
  /** Transactions up to there must never be lost. */
  acknowledged = 0
  /** An update that its master has not let in yet, and the transaction that it becomes. */
  waiting: { readonly records: ModelTransaction; txn: number } | null = null
  /** The application's process that has its master open. */
  openBy: object | null = null

  constructor(lineage: string, parent: History | null, fork: number) {
    this.lineage = lineage
    this.parent = parent
    this.fork = fork
  }

  get last(): number {
    return this.fork + this.#own.length
  }

  /** All up to there is known; what lies behind, if anything, the master has made by itself. */
  get known(): number {
    const hole = this.#own.findIndex(transaction => transaction === undefined)
    return hole < 0 ? this.last : this.fork + hole
  }

  at(txn: number): ModelTransaction | undefined {
    if (txn <= this.fork) return this.parent?.at(txn)
    return this.#own[txn - this.fork - 1]
  }

  set(txn: number, transaction: ModelTransaction): void {
    this.#own[txn - this.fork - 1] = transaction
    if (txn <= this.#stateTxn) this.#forgetState()
  }

  /** What lies behind was lost, and nobody was told that it was there. */
  cut(last: number): void {
    this.#own.length = Math.max(0, Math.min(this.#own.length, last - this.fork))
    if (last < this.#stateTxn) this.#forgetState()
  }

  /** Good until the next call. */
  stateAt(txn: number): State {
    if (txn < this.#stateTxn) this.#forgetState()
    while (this.#stateTxn < txn) {
      const transaction = this.at(this.#stateTxn + 1)
      if (transaction === undefined) {
        throw new Error(`nobody has given transaction ${this.#stateTxn + 1} to the master`)
      }
      this.#state.apply(transaction, ++this.#stateTxn)
    }
    return this.#state
  }

  #forgetState(): void {
    this.#state = new State()
    this.#stateTxn = 0
  }
}

export function sameTransaction(a: ModelTransaction, b: ModelTransaction): boolean {
  return a.length === b.length && a.every((record, index) => sameRecord(record, b[index]!))
}

function sameRecord(a: ModelRecord, b: ModelRecord): boolean {
  if (a.kind !== b.kind) return false
  if (a.kind === 'write' && b.kind === 'write') {
    return a.file === b.file && a.id === b.id && a.value.equals(b.value)
  }
  return JSON.stringify(a) === JSON.stringify(b)
}

export function recordText(record: ModelRecord): string {
  const text = Object.values(record).map(value =>
    value instanceof Buffer ? valueText(value) : String(value),
  )
  return text.join(' ')
}

export function valueText(value: Buffer): string {
  return `${value.length} bytes "${value.toString('latin1', 0, 12).replace(/\.*$/, '')}"`
}
