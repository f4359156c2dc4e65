// A dry run of hb-replay says what the real run then does: whatever end is given, wherever the slave stands, and
// whether the log has it or the segments that are brought.
import fc from 'fast-check'
import t from 'tap'
import type { LogWriter } from '../../src/log/writer.ts'
import type { Disk } from '../../src/platform/disk.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { parseConfig } from '../../src/config/config.ts'
import { newRole } from '../../src/config/role.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { replayByHand } from '../../src/replay/manual-replay.ts'
import { type ReplayRequest } from '../../src/replay/replay-operations.ts'
import { holds } from '../helpers/database-history.ts'
import { HandClock, logDirectory, openHistory } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { SlaveAtHand } from '../helpers/slave-at-hand.ts'

const stick = '/stick/log'

const everything: ReplayRequest = {
  untilTxn: null,
  untilTime: null,
  segments: [],
  account: null,
  file: null,
  lost: [],
  dryRun: false,
}

interface Written {
  readonly time: number
  readonly file: 'F' | 'G'
  readonly operations: readonly string[]
}

/** A master's log, and what its transactions do. */
class Master {
  readonly disk = new MemoryDisk()
  readonly clock = new HandClock()
  /** Of transaction n at index n - 1. */
  readonly written: Written[] = []
  #log!: LogWriter

  static async make(): Promise<Master> {
    const master = new Master()
    const { disk, clock } = master
    master.#log = await openHistory({ disk, clock })
    const records = master.#log.begin()
    records.createAccount('A')
    records.createFile(1, attributes('F'))
    records.createFile(2, attributes('G'))
    master.#log.commit()
    await master.#log.synced()
    const operations = ['create-account A', 'create-file A F', 'create-file A G']
    master.written.push({ time: clock.now(), file: 'F', operations })
    return master
  }

  /** Blocks: how long after the one before, possibly less than nothing, and how much each transaction writes. */
  async write(blocks: readonly Block[]): Promise<void> {
    for (const { later, transactions } of blocks) {
      this.clock.move(later)
      for (const { file, count } of transactions) this.#transaction(file, count)
      await this.#log.synced()
    }
  }

  #transaction(file: 'F' | 'G', count: number): void {
    const number = file === 'F' ? 1 : 2
    const records = this.#log.begin()
    this.#log.ensureMapped(number, attributes(file))
    const txn = this.#log.lastTxn + 1
    const operations: string[] = []
    for (let i = 0; i < count; i++) {
      records.writeItem(number, `${txn}-${i}`, 'v'.repeat(i))
      operations.push(`write-item A ${file} ${txn}-${i}`)
    }
    if (count === 0) {
      records.clearFile(number)
      operations.push(`clear-file A ${file}`)
    }
    this.#log.commit()
    this.written.push({ time: this.clock.now(), file, operations })
  }

  get lastTxn(): number {
    return this.written.length
  }

  async copyLog(disk: Disk, to: string): Promise<void> {
    await disk.makeDirectory(to)
    for (const { name } of await this.disk.list(logDirectory)) {
      const bytes = this.disk.contents(`${logDirectory}/${name}`)
      const file = await disk.open(`${to}/${name}`, 'create')
      await file.write(bytes, 0, bytes.length, 0)
      await file.sync()
      await file.close()
    }
    await disk.syncDirectory(to)
  }

  close(): Promise<void> {
    return this.#log.close()
  }
}

const attributes = (file: string) => ({ account: 'A', file, modulo: 3 })

class Slave extends SlaveAtHand {
  replay(request: Partial<ReplayRequest>) {
    const { disk, clock, database, log, replayer } = this
    const layout = layoutOf('/server')
    const config = parseConfig('name = "south"', layout, newRole('slave'))
    const platform = { ...nodePlatform, disk, clock }
    const parts = { platform, layout, config, database, log, replayer, on: false }
    const never = new AbortController().signal
    const keepMasterOut = () => () => {}
    return replayByHand({ ...parts, keepMasterOut }, { ...everything, ...request }, () => {}, never)
  }
}

/** What an outline should say; null for none. */
function outlineOf({ written }: Master, txn: number) {
  const found = written[txn - 1]
  if (found === undefined) return null
  const { time, operations } = found
  return {
    txn,
    time: new Date(time).toISOString(),
    operations: operations.slice(0, 10),
    more: Math.max(0, operations.length - 10),
  }
}

type Outline = NonNullable<NonNullable<Awaited<ReturnType<Slave['replay']>>['ends']>['last']>

const shown = (outline: Outline | null) =>
  outline === null
    ? null
    : {
        ...outline,
        operations: outline.operations.map(({ type, account, file, id }) =>
          [type, account, file, id].filter(word => word !== undefined).join(' '),
        ),
      }

interface Block {
  readonly later: number
  readonly transactions: readonly { readonly file: 'F' | 'G'; readonly count: number }[]
}

const arbitraryBlocks: fc.Arbitrary<Block[]> = fc.array(
  fc.record({
    later: fc.constantFrom(0, 0, 1, 1000, -1, -5000),
    transactions: fc.array(
      fc.record({ file: fc.constantFrom('F', 'G'), count: fc.constantFrom(0, 1, 1, 3, 12) }),
      { minLength: 1, maxLength: 4 },
    ),
  }),
  { maxLength: 12 },
)

/** The end lies at a part of all transactions. */
const arbitraryEnd = fc.record({
  kind: fc.constantFrom('none', 'txn', 'time', 'before time'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
})

t.test('a dry run says what the real run does', async t => {
  const cut = { some: 0, brought: 0, late: 0, chosen: 0 }
  const property = fc.asyncProperty(
    arbitraryBlocks,
    arbitraryBlocks,
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.boolean(),
    arbitraryEnd,
    fc.constantFrom(null, null, 'F'),
    async (stored, brought, stands, crash, end, file) => {
      const master = await Master.make()
      const slave = new Slave()
      await master.write(stored)
      await master.copyLog(slave.disk, logDirectory)
      await slave.open(false)
      // The first transaction is about both files, and refuses to be selected.
      const standing = Math.max(file === null ? 0 : 1, Math.round(master.lastTxn * stands))
      await slave.replayer.applyUntil({ txn: standing })
      if (crash) await slave.crash(false)
      await master.write(brought)
      const bring = brought.length > 0 && file === null
      if (bring) await master.copyLog(slave.disk, stick)
      await master.close()
      const last = bring ? master.lastTxn : slave.log.lastTxn
      const at = 1 + Math.floor(end.at * (last - 1))
      const { time } = master.written[at - 1]!
      const request = {
        untilTxn: end.kind === 'txn' ? at : null,
        untilTime: end.kind === 'time' ? time : end.kind === 'before time' ? time - 1 : null,
        segments: bring ? [stick] : [],
        file,
      }
      const from = slave.replayer.appliedTxn
      const dry = await slave.replay({ ...request, dryRun: true })
      if (slave.replayer.appliedTxn !== from) throw new Error('it has changed something')
      if (slave.log.lastTxn === last && bring) throw new Error('it has stored something')
      const real = await slave.replay(request)
      if (real.ends !== null) throw new Error('a real run has no such ends')

      const beyond = ({ time }: Written, txn: number) =>
        txn > (request.untilTxn ?? Infinity) || time > (request.untilTime ?? Infinity)
      let reached = from
      while (reached < last && !beyond(master.written[reached]!, reached + 1)) reached++
      if (reached < last) cut.some++
      if (reached < from) cut.late++
      if (bring && reached < last) cut.brought++
      const ends = { last: shown(dry.ends!.last), next: shown(dry.ends!.next) }
      if (file === null) {
        const { remaining } = dry.backlog!
        if (real.backlog!.appliedTxn !== reached) throw new Error(`applied to ${reached}`)
        if (dry.backlog!.appliedTxn !== reached) throw new Error(`would apply to ${reached}`)
        if (remaining !== last - reached || remaining !== real.backlog!.remaining) {
          throw new Error(`${remaining} remain`)
        }
        equal(ends, { last: outlineOf(master, reached), next: outlineOf(master, reached + 1) })
      } else {
        const mine = master.written.flatMap((written, index) =>
          written.file === file && index + 1 > from ? [index + 1] : [],
        )
        const within = mine.filter(txn => txn <= reached)
        const behind = mine.find(txn => txn > reached && txn <= last) ?? 0
        cut.chosen++
        if (real.selected!.applied !== within.length) throw new Error(`applied ${within.length}`)
        if (dry.selected!.selected !== within.length) throw new Error(`selects ${within.length}`)
        equal(ends, {
          last: outlineOf(master, within.at(-1) ?? 0),
          next: outlineOf(master, end.kind === 'none' ? 0 : behind),
        })
      }
      await slave.close()
    },
  )
  await holds(t, 'any end', property, 150)
  for (const [what, times] of Object.entries(cut)) {
    if (what !== 'late') t.ok(times > 20, `${what}: ${times}`)
  }
})

function equal(found: unknown, wanted: unknown): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (a !== b) throw new Error(`${a}\nand not\n${b}`)
}
