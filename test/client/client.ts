// Programs that are connected to a master which another program has open: what they can do, how they get in each
// other's way, and what they hear when the server goes.
import t from 'tap'
import { connect, isHotBackupError, Master, type Client } from '../../src/index.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { setup } from '../../src/config/setup.ts'
import { handler, refused } from '../../src/control/operation.ts'
import { status } from '../../src/control/status-operation.ts'
import { updateOperations } from '../../src/data/data-operations.ts'
import { ControlServer } from '../../src/control/control.ts'
import { packCommits, unpackCommits, type Step } from '../../src/data/packed-commits.ts'
import { layoutOf } from '../../src/config/layout.ts'

async function makeMaster(directory: string): Promise<Master> {
  await setup(nodePlatform, directory, {
    type: 'master',
    name: 'alpha',
    key: false,
    listen: null,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  return Master.open(directory)
}

t.test('a client does what a master does', async t => {
  const directory = t.testdir()
  const master = await makeMaster(directory)
  const client = await connect(directory)
  t.equal(client.name, 'alpha')
  const sales = await client.openAccount('SALES')
  await client.openAccount('SALES')
  await t.rejects(client.createAccount('SALES'), { code: 'ERR_EXISTS' })
  const customers = await sales.openFile('CUSTOMERS', { modulo: 7 })
  await sales.openFile('CUSTOMERS')
  t.strictSame(await client.accounts(), ['SALES'])
  t.strictSame(await client.account('SALES').files(), ['CUSTOMERS'])

  const bytes = Buffer.from([0, 0xff, 0xfe, 10])
  await customers.write(bytes, bytes)
  t.strictSame(await customers.read(bytes), bytes)
  t.equal(await customers.read('none'), null)
  t.equal(await customers.has('none'), false)
  t.equal(await customers.delete('none'), false)
  t.equal(await customers.delete(bytes), true)
  t.strictSame(await customers.size(), { modulo: 7, itemCount: 0 })

  const all = Array.from({ length: 5000 }, (_, i) => `item ${i}`)
  const writing = all.map(id => customers.write(id, id))
  t.equal(String(await customers.read('item 4999')), 'item 4999', 'a read sees what was written')
  await Promise.all(writing)
  t.equal(client.lastTxn, master.lastTxn)
  const found: string[] = []
  for await (const { id, value } of customers.items()) {
    if (id.equals(value)) found.push(String(id))
  }
  t.strictSame(found.sort(), all.sort())
  await customers.resize(11)
  const clearing = [
    customers.write('before', 'x'),
    customers.clear(),
    customers.write('behind', 'x'),
  ]
  await Promise.all(clearing)
  t.strictSame(await customers.size(), { modulo: 11, itemCount: 1 }, 'in the order of the calls')

  t.equal(await customers.compareAndSet('A', null, '1'), true)
  t.equal(await customers.compareAndSet('A', null, '2'), false)
  t.equal(await customers.compareAndSet('A', '2', '3'), false)
  t.equal(await customers.compareAndSet('A', '1', '2'), true)
  t.equal(await customers.compareAndSet('A', '2', null), true)
  t.equal(await customers.read('A'), null)

  for (const wrong of [
    () => customers.write('', 'x'),
    () => customers.write('x'.repeat(1025), 'x'),
    () => sales.file('NONE').write('x', 'x'),
    () => sales.file('NONE').read('x'),
    () => sales.createFile('A/B'),
    () => sales.createFile('B', { modulo: 0 }),
    () => client.account('NONE').files(),
    () => client.deleteAccount('NONE'),
    () => client.wait(1, 'durable', { timeoutMs: 0 }),
  ]) {
    await t.rejects(wrong() as Promise<unknown>, {
      code: /^ERR_(ITEM_ID|NO_FILE|NAME|MODULO|NO_ACCOUNT|NO_SLAVE)$/,
    })
  }
  await t.rejects(customers.write('x', 7 as unknown as string), TypeError)
  t.match(await client.status(), { lastTxn: master.lastTxn, failure: null })
  await sales.deleteFile('CUSTOMERS')
  await client.deleteAccount('SALES')
  await client.close()
  await t.rejects(customers.read('x'), { code: 'ERR_CLOSED' })
  await master.close()
  await t.rejects(connect(directory), { code: 'ERR_NOT_RUNNING' })
})

t.test('transactions of several clients are one after the other', async t => {
  const directory = t.testdir()
  const master = await makeMaster(directory)
  const clients = await Promise.all([1, 2, 3].map(() => connect(directory)))
  const [first] = clients as [Client]
  await (await first.openAccount('A')).openFile('F')
  let tries = 0
  const count = (client: Client) =>
    client.transaction(async transaction => {
      tries++
      const file = client.account('A').file('F')
      const before = Number((await transaction.read(file, 'COUNT')) ?? 0)
      transaction.write(file, 'COUNT', String(before + 1))
      t.equal(String(await transaction.read(file, 'COUNT')), String(before + 1), 'its own changes')
      transaction.write(file, `NUMBER ${before + 1}`, '')
      return before + 1
    })
  const counts = await Promise.all(
    clients.flatMap(client => Array.from({ length: 10 }, () => count(client))),
  )
  t.strictSame(
    counts.sort((a, b) => a - b),
    Array.from({ length: 30 }, (_, i) => i + 1),
  )
  t.ok(tries > 30, 'some were tried again')
  const file = first.account('A').file('F')
  t.equal((await file.size()).itemCount, 31)

  const before = master.lastTxn
  await t.rejects(
    first.transaction(transaction => {
      transaction.write(file, 'half', '')
      throw new RangeError('no')
    }),
    RangeError,
  )
  const deleted = await first.transaction(async transaction => {
    t.equal(await transaction.delete(file, 'none'), false)
    t.equal(await transaction.delete(file, 'COUNT'), true)
    t.equal(await transaction.read(file, 'COUNT'), null)
    return 'deleted'
  })
  t.equal(deleted, 'deleted')
  t.equal(master.lastTxn, before + 1)
  for (const client of clients) await client.close()
  await master.close()
})

t.test('a client finds the server again, and says what it does not know', async t => {
  const directory = t.testdir()
  let master = await makeMaster(directory)
  const client = await connect(directory)
  const file = await (await client.openAccount('A')).openFile('F')
  // In another process it would be the same: the client waits for as long as an owner comes.
  const layout = layoutOf(directory)
  const supervisor = await nodePlatform.locks.acquire(layout.supervisorLock, 'supervisor', () => {})
  await master.close()
  const written = file.write('while it is away', 'x')
  const read = file.read('while it is away')
  master = await Master.open(directory)
  await written
  t.equal(String(await read), 'x')
  await master.close()

  // A server that takes a request and dies.
  const lock = await nodePlatform.locks.acquire(layout.ownerLock, 'server', () => {})
  const begun: string[] = []
  let dies: () => void = () => {}
  const dying = new Promise<void>(resolve => (dies = resolve))
  const connections: { destroy(): void }[] = []
  const listener = await nodePlatform.localSockets.listen(layout.ownerSocket, connection => {
    connections.push(connection)
    connection.listen({ data: () => dies(), drained: () => {}, closed: () => {} })
    const ready = Buffer.from(JSON.stringify({ ready: true }))
    const head = Buffer.alloc(8)
    head.writeUInt32LE(ready.length, 0)
    connection.write(Buffer.concat([head, ready]))
  })
  const unknown = file.write('taken', 'x').catch((error: unknown) => {
    begun.push(isHotBackupError(error) ? error.code : String(error))
  })
  await dying
  for (const connection of connections) connection.destroy()
  await unknown
  t.strictSame(begun, ['ERR_OUTCOME'])
  await listener.close()
  await lock.release()
  master = await Master.open(directory)
  await file.write('after it', 'x')
  t.equal(await file.read('taken'), null, 'it was not sent again')
  await master.close()
  await supervisor.release()
  await client.close()
})

t.test('a slave is read and not written', async t => {
  const directory = t.testdir()
  const master = await makeMaster(directory)
  await (await master.createAccount('A')).createFile('F')
  const { handlers } = master
  const known = master.status()
  const updates = Object.values(updateOperations)
  const layout = layoutOf(directory)
  await master.close()
  const lock = await nodePlatform.locks.acquire(layout.ownerLock, 'slave', () => {})
  const slave = await ControlServer.start(nodePlatform, layout.ownerSocket, () => {}, {
    handlers: [
      handler(status, async () => ({ master: known })),
      ...updates.map(refused),
      ...handlers,
    ],
  })
  const client = await connect(directory)
  const file = client.account('A').file('F')
  t.equal(await file.read('x'), null)
  const readOnly = { code: 'ERR_READ_ONLY' }
  await t.rejects(file.write('x', 'y'), readOnly)
  await t.rejects(client.createAccount('B'), readOnly)
  await t.rejects(
    client.transaction(transaction => transaction.write(file, 'x', 'y')),
    readOnly,
  )
  await client.close()
  await slave.close()
  await lock.release()
})

t.test('packed transactions', async t => {
  const step = (kind: Step['kind'], id: string, value = ''): Step => ({
    kind,
    file: 3,
    id: Buffer.from(id),
    value: Buffer.from(value),
  })
  const commits = [[step('write', 'a', 'b')], [], [step('absent', 'c'), step('delete', 'd')]]
  const bytes = packCommits(commits)
  t.strictSame([...unpackCommits(bytes)], commits)
  for (let length = 1; length < bytes.length; length++) {
    // Cut between two transactions it is a shorter message.
    if (length === 19 || length === 23) continue
    t.throws(() => [...unpackCommits(bytes.subarray(0, length))], { code: 'ERR_WIRE' })
  }
  const wrong = Buffer.from(bytes)
  wrong[4] = 9
  t.throws(() => [...unpackCommits(wrong)], { code: 'ERR_WIRE' })
})
