// What cannot be applied: it goes to lost-found whole, once, and durable before the replayer goes past it, whatever
// crashes come between; nothing else is lost; and never a loop.
import fc from 'fast-check'
import t from 'tap'
import { HashedFile } from '../../src/database/hashed-file.ts'
import { fileFlags } from '../../src/log/file-flags.ts'
import { RecordCursor, recordTypeNames } from '../../src/log/record.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { parseConfig } from '../../src/config/config.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { replayByHand } from '../../src/replay/manual-replay.ts'
import {
  countLost,
  findLost,
  listLost,
  LostAndFound,
  lostId,
  putAwayLost,
  readLost,
  removeLost,
  type LostHeader,
} from '../../src/slave/lost-found.ts'
import { newRole } from '../../src/config/role.ts'
import { holds } from '../helpers/database-history.ts'
import { failure } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { lostDirectory, SlaveAtHand, type SlaveSettings } from '../helpers/slave-at-hand.ts'

const orders = { account: 'SALES', file: 'ORDERS', modulo: 7 }
const parts = { account: 'STOCK', file: 'PARTS', modulo: 11 }

// A defect of the program: the item "poison" cannot be written.
const write = Object.getOwnPropertyDescriptor(HashedFile.prototype, 'writeItem')!
  .value as HashedFile['writeItem']
HashedFile.prototype.writeItem = function (bytes, idStart, idEnd, valueEnd, txn) {
  if (Buffer.from(bytes.subarray(idStart, idEnd)).toString() === 'poison') {
    throw new TypeError('a defect')
  }
  write.call(this, bytes, idStart, idEnd, valueEnd, txn)
}

type Kind = 'good' | 'missing' | 'misfit' | 'poison'

class Slave extends SlaveAtHand {
  readonly kinds: Kind[] = []

  static async make(settings: SlaveSettings): Promise<Slave> {
    const slave = new Slave()
    await slave.open(false, settings)
    const records = slave.log.begin()
    records.createAccount(orders.account)
    records.createFile(1, orders)
    slave.log.commit()
    await slave.log.synced()
    return slave
  }

  /** One block. Each transaction writes its number into one of five items, and what makes it what it is. */
  async block(kinds: readonly Kind[]): Promise<void> {
    for (const kind of kinds) {
      const records = this.log.begin()
      this.log.ensureMapped(1, orders)
      if (kind === 'missing') this.log.ensureMapped(2, parts)
      const txn = this.log.lastTxn + 1
      records.writeItem(1, `item-${txn % 5}`, String(txn))
      if (kind === 'missing') records.writeItem(2, 'part', String(txn))
      if (kind === 'misfit') records.createAccount(orders.account)
      if (kind === 'poison') records.writeItem(1, 'poison', '')
      this.log.commit()
      this.kinds.push(kind)
    }
    await this.log.synced()
  }

  /** Until all is applied, through every reopening that the replayer asks for; the number of reopenings. */
  async applyAll(): Promise<number> {
    for (let reopened = 0; ; reopened++) {
      const done = this.replayer.applyUntil({}).catch((error: unknown) => error)
      await Promise.race([done, this.asksToReopen])
      await done
      if (this.replayer.failure === null || this.said.length > 0) return reopened
      await this.close()
      await this.open(false)
    }
  }

  /** What is wrong with the database and lost-found when everything has been applied; null when nothing is. */
  async fault(autoCreate: boolean): Promise<string | null> {
    const expected = new Map<string, string>()
    const lost: number[] = []
    this.kinds.forEach((kind, index) => {
      const txn = index + 2
      if (kind === 'good' || (kind === 'missing' && autoCreate)) {
        expected.set(`item-${txn % 5}`, String(txn))
        if (kind === 'missing') expected.set('part', String(txn))
      } else {
        lost.push(txn)
      }
    })
    const entries = await listLost(this.disk, lostDirectory)
    const found = entries.map(entry => entry.txn)
    if (found.join() !== lost.join()) return `lost ${found.join()} and not ${lost.join()}`
    for (const id of ['item-0', 'item-1', 'item-2', 'item-3', 'item-4', 'part']) {
      const { account, file } = id === 'part' ? parts : orders
      const item = this.database.file(account, file)?.read(Buffer.from(id))?.toString()
      if (item !== expected.get(id)) return `${id} is ${item} and not ${expected.get(id)}`
    }
    if (this.database.appliedTxn !== this.log.lastTxn)
      return `stands at ${this.database.appliedTxn}`
    for (const { id, txn } of entries) {
      const { records } = await readLost(this.disk, lostDirectory, id)
      const shown = show(records)
      if (!shown.includes(`1 item-${txn % 5}=${txn}`)) return `${txn} holds ${shown.join('; ')}`
      if (!shown.includes('1 map SALES ORDERS')) return `${txn} has no map: ${shown.join('; ')}`
    }
    return null
  }
}

function show(records: Buffer): string[] {
  const cursor = new RecordCursor()
  cursor.reset(records, 0, records.length)
  const shown: string[] = []
  while (cursor.next()) {
    const name = recordTypeNames[cursor.type]
    if (name === 'map-file') {
      const { account, file } = cursor.attributes()
      shown.push(`${cursor.fileNumber} map ${account} ${file}`)
    } else {
      const value = records.toString('utf8', cursor.valueStart, cursor.valueEnd)
      shown.push(`${cursor.fileNumber} ${cursor.idText()}=${value}`)
    }
  }
  return shown
}

const arbitraryKinds = fc.array(
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constant<Kind>('good') },
      { weight: 2, arbitrary: fc.constantFrom<Kind>('missing', 'misfit', 'poison') },
    ),
    { minLength: 1, maxLength: 6 },
  ),
  { minLength: 1, maxLength: 10 },
)

t.test('what cannot be applied is set aside whole, once, and nothing else is', async t => {
  const property = fc.asyncProperty(
    arbitraryKinds,
    fc.boolean(),
    fc.array(fc.nat(120), { maxLength: 5 }),
    async (blocks, autoCreate, crashes) => {
      const slave = await Slave.make({ autoCreate })
      for (const kinds of blocks) await slave.block(kinds)
      for (const operations of crashes) {
        slave.powerFailsAfter(operations)
        await slave.applyAll().catch(() => {})
        slave.said.length = 0
        await slave.replayer.stop().catch(() => {})
        await slave.log.close().catch(() => {})
        await slave.database.close().catch(() => {})
        await slave.crash(false)
      }
      const reopened = await slave.applyAll()
      const poisoned = slave.kinds.filter(kind => kind === 'poison').length
      if (slave.said.length > 0) throw new Error(slave.said.join())
      if (reopened > 3 * poisoned) throw new Error(`opened ${reopened} times for ${poisoned}`)
      const fault = await slave.fault(autoCreate)
      if (fault !== null) throw new Error(fault)
      await slave.close()
      // It stays so: nothing is met again.
      await slave.open(true)
      const again = await slave.fault(autoCreate)
      if (again !== null) throw new Error(again)
      await slave.close()
    },
  )
  await holds(t, 'any blocks and crashes', property, 100)
})

t.test('what is replayed by id is there once, whatever crashes come between', async t => {
  const request = {
    untilTxn: null,
    untilTime: null,
    segments: [],
    account: null,
    file: null,
    lost: ['all'],
    dryRun: false,
  }
  let crashed = 0
  const property = fc.asyncProperty(
    fc.array(fc.constantFrom<Kind>('good', 'missing'), { minLength: 1, maxLength: 8 }),
    fc.array(fc.nat(60), { maxLength: 4 }),
    async (kinds, crashes) => {
      const slave = await Slave.make({})
      await slave.block(kinds)
      await slave.replayer.applyUntil({})
      const replay = () => {
        const { disk, clock, database, log, replayer } = slave
        const platform = { ...nodePlatform, disk, clock }
        const layout = layoutOf('/server')
        const config = parseConfig('name = "south"', layout, newRole('slave'))
        const keepMasterOut = () => () => {}
        const parts = { platform, layout, config, database, log, replayer, on: false }
        const never = new AbortController().signal
        return replayByHand({ ...parts, keepMasterOut }, request, () => {}, never)
      }
      for (const operations of crashes) {
        slave.powerFailsAfter(operations)
        await replay().catch(() => crashed++)
        slave.said.length = 0
        await slave.replayer.stop().catch(() => {})
        await slave.log.close().catch(() => {})
        await slave.database.close().catch(() => {})
        await slave.crash(false)
      }
      await replay()
      const missing = kinds.flatMap((kind, index) => (kind === 'missing' ? [index + 2] : []))
      for (let round = 0; round < 2; round++) {
        const part = slave.database.file('STOCK', 'PARTS')?.read(Buffer.from('part'))
        const last = missing.at(-1)
        if (part?.toString() !== last?.toString()) throw new Error(`${part} and not ${last}`)
        if ((await countLost(slave.disk, lostDirectory)) > 0) throw new Error('not all is replayed')
        // A power failure takes nothing of it back, and nothing is met again.
        await slave.crash(false)
        await slave.replayer.applyUntil({})
      }
      if (slave.said.length > 0) throw new Error(slave.said.join())
      await slave.close()
    },
  )
  await holds(t, 'any crashes', property, 80)
  t.ok(crashed > 15, `${crashed} crashes`)
})

t.test('a transaction that fails is tried so often, also across restarts', async t => {
  const slave = await Slave.make({ tries: 4 })
  await slave.block(['good', 'poison', 'good'])
  for (let tries = 1; tries <= 3; tries++) {
    await t.rejects(slave.replayer.applyUntil({}), { code: 'ERR_APPLY' })
    t.equal(slave.database.broken, true)
    t.equal(await countLost(slave.disk, lostDirectory), 0)
    await slave.crash(false)
  }
  await t.rejects(slave.replayer.applyUntil({}), { code: 'ERR_APPLY' })
  t.equal(await countLost(slave.disk, lostDirectory), 1)
  await slave.crash(false)
  t.equal((await slave.replayer.applyUntil({})).appliedTxn, 4)
  t.equal(slave.database.file('SALES', 'ORDERS')?.read(Buffer.from('item-3')), null)
  t.match(slave.alarms, [/^1 3 the replayer failed|^1 3 a defect/])
  await slave.close()
})

t.test('with auto-create, a file is made as a map earlier in the segment says', async t => {
  const slave = await Slave.make({ autoCreate: false })
  const attributes = { ...parts, flags: fileFlags.filling }
  // The map lies in one transaction, and the segment knows it in the next.
  const first = slave.log.begin()
  slave.log.ensureMapped(2, attributes)
  first.writeItem(2, 'a', '1')
  slave.log.commit()
  slave.log.begin().writeItem(2, 'b', '2')
  slave.log.commit()
  slave.log.begin().resizeFile(2, 5)
  slave.log.commit()
  slave.log.begin().writeItem(2, 'c', '3')
  slave.log.commit()
  await slave.log.synced()
  await slave.replayer.applyUntil({ txn: 2 })
  t.equal(await countLost(slave.disk, lostDirectory), 1)
  await slave.crash(false)
  await slave.close()
  await slave.open(false, { autoCreate: true })
  await slave.replayer.applyUntil({ txn: 3 })
  const file = () => slave.database.file('STOCK', 'PARTS')
  t.match(file(), { modulo: 11, number: 2, flags: fileFlags.filling })
  t.equal(file()?.itemCount, 1)
  await slave.replayer.applyUntil({})
  t.match(file(), { modulo: 5, itemCount: 2 })
  t.equal(await countLost(slave.disk, lostDirectory), 1)
  await slave.close()
})

t.test('of many transactions one after the other, only some are told', async t => {
  const slave = await Slave.make({})
  await slave.block(Array.from({ length: 30 }, () => 'missing' as const))
  await slave.replayer.applyUntil({})
  t.equal(slave.alarms.length, 1)
  slave.clock.move(10_000)
  await slave.block(['missing'])
  await slave.replayer.applyUntil({})
  t.match(slave.alarms, [/^1 2 /, /^30 32 write-item for file number 2: no such file/])
  await slave.close()
})

const header: LostHeader = {
  reason: 'no such\nfile',
  code: 'ERR_APPLY',
  kind: 'write-item',
  server: 'south',
  time: '2026-01-02T03:04:05.678Z',
  txn: 17,
  chain: '00c0ffee',
  written: '2026-01-02T03:04:05.000Z',
  lastAcknowledged: 20,
  timeline: 1,
}

t.test('an entry is read as it was written, and every damage is found', async t => {
  const disk = new MemoryDisk()
  await disk.makeDirectory('/server')
  const lost = await LostAndFound.open(disk, lostDirectory)
  t.ok(lost.empty)
  const name = { txn: 17, chain: 0xc0ffee }
  const records = Buffer.from('anything\n\nat all')
  await lost.put(name, header, records)
  await lost.put({ txn: 18, chain: 1 }, { ...header, txn: 18 }, Buffer.alloc(0))
  await lost.put({ txn: 18, chain: 2 }, { ...header, txn: 18 }, Buffer.alloc(0))
  t.ok(lost.has(17, 0xc0ffee))
  t.notOk(lost.has(17, 1))
  disk.crash()
  const id = await findLost(disk, lostDirectory, '17')
  t.equal(id, lostId(name))
  t.equal(id, '00000000000000000017-00c0ffee')
  const { entry, records: read } = await readLost(disk, lostDirectory, id)
  t.strictSame(entry, { ...header, reason: 'no such file', id })
  t.same(read, records)
  t.match(await listLost(disk, lostDirectory), [entry, { txn: 18 }, { txn: 18 }])
  await failure(findLost(disk, lostDirectory, '18'), 'ERR_USAGE')
  await failure(findLost(disk, lostDirectory, '19'), 'ERR_NO_LOST')
  await failure(readLost(disk, lostDirectory, lostId({ txn: 19, chain: 0 })), 'ERR_NO_LOST')

  const path = `${lostDirectory}/${id}`
  const bytes = disk.contents(path)
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes)
    damaged[at] = damaged[at]! ^ 0x01
    disk.overwrite(path, 0, damaged)
    await failure(readLost(disk, lostDirectory, id), 'ERR_LOST_CORRUPT')
  }
  disk.overwrite(path, 0, bytes)

  const copied = new MemoryDisk()
  await copied.makeDirectory('/server')
  const given = await LostAndFound.open(copied, lostDirectory)
  await given.put(name, header, records)
  await given.put({ txn: 18, chain: 1 }, header, records)
  await removeLost(copied, lostDirectory, id)
  await given.noteTries({ ...name, tries: 1 })
  await putAwayLost(copied, lostDirectory)
  copied.crash()
  await putAwayLost(copied, lostDirectory)
  t.equal(await countLost(copied, lostDirectory), 0)
  t.ok((await LostAndFound.open(copied, lostDirectory)).empty, 'they are met again')
  t.equal(
    (await readLost(copied, `${lostDirectory}/before-copy`, lostId({ txn: 18, chain: 1 }))).entry
      .txn,
    17,
  )

  await removeLost(disk, lostDirectory, id)
  disk.crash()
  t.equal(await countLost(disk, lostDirectory), 2)
  const after = await LostAndFound.open(disk, lostDirectory)
  t.ok(after.has(17, 0xc0ffee), 'discarded, it is not met again')
  await after.forgetGone(16)
  t.ok((await LostAndFound.open(disk, lostDirectory)).has(17, 0xc0ffee))
  await after.forgetGone(17)
  t.notOk((await LostAndFound.open(disk, lostDirectory)).has(17, 0xc0ffee))
})
