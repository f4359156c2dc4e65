// "hb verify": has the master write into its log what it holds, waits until its slaves have come there, and asks them
// what they have found; then once more for the ranges that differ, item by item. With `repair`, the master writes the
// items that differ again, as they are in the turn in which they are written, and all of that is verified again. Each
// step goes by itself, so an application may open or close the master at any time.
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { Difference } from '../wire/messages/differences.ts'
import { loadConfig } from '../config/config.ts'
import type { ControlClient } from '../control/control-client.ts'
import { ask, type Answer, type Caller } from '../control/operation.ts'
import { reach } from '../control/reach.ts'
import { repairOperations, verifyOperations } from './repair-operations.ts'
import type { DataAccess } from '../data/data-access.ts'
import { ItemPacker } from '../data/packed-items.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { waitForTxn } from '../updates/wait.ts'

export interface VerifyOptions {
  /** Null for all. */
  readonly account: string | null
  readonly file: string | null
  readonly slave: string | null
  readonly repair: boolean
  /** How long the slaves may take to come to the last mark; null: as long as it takes. */
  readonly timeoutMs: number | null
  readonly progress: (step: VerifyStep) => void
  readonly access: DataAccess
}

export type VerifyStep =
  | { readonly step: 'looking'; readonly itemsDone: number; readonly itemsTotal: number }
  | { readonly step: 'waiting' | 'comparing' | 'repairing' }

/** What was found on one slave. */
export interface VerifiedSlave {
  readonly name: string
  /** Everything that differed, by item where items differed. */
  readonly found: readonly Difference[]
  /** What of it is the same now. */
  readonly repaired: readonly Difference[]
  /** What differs still. */
  readonly left: readonly Difference[]
  /** Differences above what a slave keeps. */
  readonly more: number
}

export interface VerifyOutcome extends Answer<typeof verifyOperations.verifyPass> {
  readonly slaves: readonly VerifiedSlave[]
}

/** A slave tells of a thousand items at a time: more than this many rounds are a case for a new copy. */
const roundsMax = 100

/**
 * Throws ERR_WRONG_TYPE, ERR_NO_SLAVE, ERR_NOT_RUNNING when nothing is sent to the slaves, ERR_TIMEOUT,
 * ERR_NO_STATISTICS when a slave cannot be asked. Differences are no error here.
 */
export async function verifyServer(
  platform: Platform,
  directory: string,
  options: VerifyOptions,
): Promise<VerifyOutcome> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  if (config.type !== 'master') {
    const text = `${config.name} is a slave: its master verifies it`
    throw new HotBackupError('ERR_WRONG_TYPE', text, { path: layout.directory })
  }
  const names = config.slaves.map(({ name }) => name)
  const { slave } = options
  if (slave === null ? names.length === 0 : !names.includes(slave)) {
    const which = slave === null ? 'slaves to verify' : `slave ${slave}`
    throw new HotBackupError('ERR_NO_SLAVE', `${config.name} has no ${which}`)
  }
  await shipperOf(platform, layout, config.name, () => Promise.resolve())
  const verification = new Verification(platform, layout, config.name, options)
  return verification.run(slave === null ? names : [slave])
}

async function shipperOf<T>(
  platform: Platform,
  layout: Layout,
  name: string,
  work: (client: ControlClient) => Promise<T>,
): Promise<T> {
  const client = await reach(platform, layout, 'shipper')
  if (client === null) {
    throw new HotBackupError('ERR_NOT_RUNNING', `nothing is sent to the slaves of ${name}`)
  }
  try {
    return await work(client)
  } finally {
    client.close()
  }
}

/** By name. */
type Findings = ReadonlyMap<string, { readonly rows: readonly Difference[]; readonly more: number }>

class Verification {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #name: string
  readonly #options: VerifyOptions

  constructor(platform: Platform, layout: Layout, name: string, options: VerifyOptions) {
    this.#platform = platform
    this.#layout = layout
    this.#name = name
    this.#options = options
  }

  async run(slaves: readonly string[]): Promise<VerifyOutcome> {
    const { account, file, progress, repair } = this.#options
    const pass = await this.#data(data =>
      ask(data, verifyOperations.verifyPass, { account, file }, part =>
        progress({ step: 'looking', ...part }),
      ),
    )
    await this.#reached(pass.lastTxn)
    progress({ step: 'comparing' })
    let now = await this.#compareItems(slaves, await this.#ask(slaves), isRange)
    const found = new Map(slaves.map(name => [name, new Map<string, Difference>()]))
    const note = () => {
      for (const [name, { rows }] of now) {
        for (const row of rows) found.get(name)!.set(keyOf(row), row)
      }
    }
    note()
    for (let round = 0; repair && round < roundsMax && repairable(now).length > 0; round++) {
      progress({ step: 'repairing' })
      await this.#repair(now)
      now = await this.#compareItems(slaves, now, row => isRange(row) || row.id.length > 0)
      note()
    }
    const outcome = slaves.map(name => {
      const { rows: left, more } = now.get(name)!
      const keys = new Set(left.map(keyOf))
      const all = [...found.get(name)!.values()]
      const repaired = all.filter(row => !keys.has(keyOf(row)) && !isRange(row))
      // A range whose items are known is no difference of its own.
      return { name, found: [...repaired, ...left], repaired, left, more }
    })
    return { ...pass, slaves: outcome }
  }

  /** One step. */
  #data<T>(work: (data: Caller) => Promise<T>): Promise<T> {
    return this.#options.access(this.#platform, this.#layout.directory, 'write', work)
  }

  async #reached(txn: number): Promise<void> {
    const { slave, timeoutMs, progress } = this.#options
    progress({ step: 'waiting' })
    const options = { slave, txn, level: 'applied', timeoutMs } as const
    await waitForTxn(this.#platform, this.#layout.directory, options)
  }

  /** Has the slaves compare the ranges of these rows again, by items; resolves with what they know then. */
  async #compareItems(
    slaves: readonly string[],
    findings: Findings,
    wanted: (row: Difference) => boolean,
  ): Promise<Findings> {
    const rows = [...findings.values()].flatMap(found => found.rows.filter(wanted))
    if (rows.length === 0) return findings
    let lastTxn = 0
    for (const [{ account, file }, some] of byFile(rows)) {
      const ranges = joined(some)
      const marked = await this.#data(data =>
        ask(data, verifyOperations.verifyItems, { account, file, ranges }),
      )
      lastTxn = Math.max(lastTxn, marked.lastTxn)
    }
    await this.#reached(lastTxn)
    return this.#ask(slaves)
  }

  async #repair(findings: Findings): Promise<void> {
    for (const [{ account, file }, rows] of byFile(repairable(findings))) {
      const packer = new ItemPacker()
      const ids = new Map(rows.map(({ id }) => [id.toString('latin1'), id]))
      for (const id of ids.values()) packer.add(id, noValue)
      const request = { account, file, body: packer.take() }
      await this.#data(data => ask(data, verifyOperations.verifyRepair, request))
    }
  }

  /** What the slaves know of the files in question. */
  async #ask(slaves: readonly string[]): Promise<Findings> {
    const { account, file } = this.#options
    const asked = slaves.map(async name => {
      const { rows, more } = await this.#askOne(name)
      const here = rows.filter(
        row => (account ?? row.account) === row.account && (file ?? row.file) === row.file,
      )
      return [name, { rows: here, more }] as const
    })
    return new Map(await Promise.all(asked))
  }

  #askOne(slave: string): Promise<{ readonly rows: readonly Difference[]; readonly more: number }> {
    return shipperOf(this.#platform, this.#layout, this.#name, async client => {
      const rows: Difference[] = []
      for (;;) {
        const { differences } = repairOperations
        const page = await ask(client, differences, { slave, start: rows.length })
        const { status, rows: some } = page
        rows.push(...some)
        if (some.length === 0 || rows.length >= status.known) return { rows, more: status.more }
      }
    })
  }
}

const noValue = new Uint8Array()

/** Of which items are not known yet. */
function isRange({ kind }: Difference): boolean {
  return kind === 'groups' || kind === 'unreadable'
}

function repairable(findings: Findings): Difference[] {
  return [...findings.values()].flatMap(({ rows }) => rows.filter(({ id }) => id.length > 0))
}

/** The same difference, whenever it was seen. */
function keyOf({ kind, account, file, id, from, text }: Difference): string {
  return [kind, account, file, id.toString('latin1'), id.length === 0 ? from : '', text].join('/')
}

function byFile(
  rows: readonly Difference[],
): [{ readonly account: string; readonly file: string }, Difference[]][] {
  const files = new Map<string, Difference[]>()
  for (const row of rows) {
    const name = `${row.account}/${row.file}`
    const some = files.get(name)
    if (some === undefined) files.set(name, [row])
    else some.push(row)
  }
  return [...files.values()].map(some => [some[0]!, some])
}

/** The ranges of the rows, in order, each hash once. */
function joined(rows: readonly Difference[]): [number, number][] {
  const ranges: [number, number][] = []
  for (const { from, to } of rows.toSorted((a, b) => a.from - b.from)) {
    const last = ranges.at(-1)
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to)
    else ranges.push([from, to])
  }
  return ranges
}
