// The control socket, from frames to a master that closes while commands use it; and reading without it.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { itemBytesMax, itemIdBytesMax, MiB } from '../../src/limits.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { loadConfig } from '../../src/config/config.ts'
import { setup } from '../../src/config/setup.ts'
import { ControlClient } from '../../src/control/control-client.ts'
import { ControlServer } from '../../src/control/control.ts'
import { encodeFrame, FrameDecoder, frameBodyBytesMax } from '../../src/control/frames.ts'
import {
  ask,
  handler,
  localCaller,
  operation,
  refused,
  type Caller,
} from '../../src/control/operation.ts'
import { status } from '../../src/control/status-operation.ts'
import { allItems, listAccounts, listFiles } from '../../src/data/data-access.ts'
import { readOperations, updateOperations as updates } from '../../src/data/data-operations.ts'
import { replayOperations } from '../../src/replay/replay-operations.ts'
import { ItemPacker, unpackItems } from '../../src/data/packed-items.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import { FileReader } from '../../src/server/read-files.ts'
import { withData } from '../../src/server/sessions.ts'

type Tap = Pick<typeof t, 'teardown'>

function temporary(test: Tap): string {
  const directory = mkdtempSync(join(tmpdir(), 'hb-control-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function connected(path: string): Promise<ControlClient> {
  const client = await ControlClient.connect(nodePlatform, path)
  if (client === null) throw new Error(`nobody listens at ${path}`)
  return client
}

/** The operations on data in short. */
function dataOf(caller: Caller) {
  const { readItem, digest, fileExists } = readOperations
  const bytesOf = async (account: string, file: string, id: string) =>
    (await ask(caller, readItem, { account, file, body: Buffer.from(id) })).body
  return {
    accounts: () => listAccounts(caller),
    files: (account: string) => listFiles(caller, account),
    readBytes: bytesOf,
    readItem: async (...place: [account: string, file: string, id: string]) =>
      (await bytesOf(...place)).toString(),
    fileExists: async (account: string, file: string) =>
      (await ask(caller, fileExists, { account, file })).exists,
    digest: async (account: string | null, file: string | null) =>
      (await ask(caller, digest, { account, file })).digest,
    createAccount: (account: string) => ask(caller, updates.createAccount, { account }),
    deleteAccount: (account: string) => ask(caller, updates.deleteAccount, { account }),
    createFile: (account: string, file: string, modulo: number) =>
      ask(caller, updates.createFile, { account, file, modulo, local: false }),
    clearFile: (account: string, file: string) => ask(caller, updates.clearFile, { account, file }),
    deleteFile: (account: string, file: string) =>
      ask(caller, updates.deleteFile, { account, file }),
    resizeFile: (account: string, file: string, modulo: number) =>
      ask(caller, updates.resizeFile, { account, file, modulo }),
    writeItems: (account: string, file: string, body: Buffer) =>
      ask(caller, updates.writeItems, { account, file, body }),
    deleteItem: (account: string, file: string, id: string) =>
      ask(caller, updates.deleteItem, { account, file, body: Buffer.from(id) }),
  }
}

async function openMaster(directory: string): Promise<Master> {
  await setup(nodePlatform, directory, {
    type: 'master',
    name: 'north',
    key: false,
    listen: null,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  return Master.open(directory)
}

t.test('frames come out whole, however they are cut', async t => {
  const frame = fc.record({
    header: fc.dictionary(fc.string(), fc.jsonValue()),
    body: fc.uint8Array(),
  })
  fc.assert(
    fc.property(
      fc.array(frame),
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
      (frames, cuts) => {
        const bytes = Buffer.concat(frames.flatMap(({ header, body }) => encodeFrame(header, body)))
        const decoder = new FrameDecoder()
        const found = []
        for (let start = 0; start < bytes.length;) {
          const end = start + (cuts.next().value as number)
          found.push(...decoder.push(bytes.subarray(start, end)))
          start = end
        }
        t.notOk(decoder.partial)
        const expected = frames.map(({ header, body }) => [
          JSON.stringify(header),
          Buffer.from(body),
        ])
        t.strictSame(
          found.map(({ header, body }) => [JSON.stringify(header), body]),
          expected,
        )
      },
    ),
  )
  t.ok(itemIdBytesMax + itemBytesMax + 2 * MiB < frameBodyBytesMax, 'a batch and the largest item')
  const tooLong = Buffer.alloc(8)
  tooLong.writeUInt32LE(frameBodyBytesMax + 1, 4)
  t.throws(
    () => new FrameDecoder().push(tooLong),
    { code: 'ERR_WIRE' },
    'before anything is allocated',
  )
  for (const header of ['', '3', 'null', '[]', '{"a"']) {
    const prefix = Buffer.alloc(8)
    prefix.writeUInt32LE(header.length, 0)
    const bytes = Buffer.concat([prefix, Buffer.from(header)])
    t.throws(() => new FrameDecoder().push(bytes), { code: 'ERR_WIRE' }, header)
  }
})

t.test('packed items', async t => {
  const item = fc.tuple(fc.uint8Array({ maxLength: 1024 }), fc.uint8Array({ maxLength: 100 }))
  fc.assert(
    fc.property(fc.array(item), items => {
      const packer = new ItemPacker()
      for (const [id, value] of items) packer.add(id, value)
      const found = [...unpackItems(packer.take())].map(({ id, value }) => [id, value])
      t.strictSame(
        found,
        items.map(([id, value]) => [Buffer.from(id), Buffer.from(value)]),
      )
      t.equal(packer.count, 0)
    }),
  )
  for (const wrong of ['00', '01000000000000', '0100000001000000aa', '01040000000000000000']) {
    t.throws(() => [...unpackItems(Buffer.from(wrong, 'hex'))], { code: 'ERR_WIRE' }, wrong)
  }
})

const { applyUpdates } = replayOperations
const shipper = { pid: 7, slaves: [] }
const here = handler(status, async () => ({ shipper }))

t.test('a socket is for its owner alone, whatever the length of its path', async t => {
  const directory = join(temporary(t), 'd'.repeat(120), 'e'.repeat(120))
  const path = layoutOf(directory).ownerSocket
  t.equal(await ControlClient.connect(nodePlatform, path), null, 'there is no such directory')
  mkdirSync(layoutOf(directory).run, { recursive: true })
  t.equal(await ControlClient.connect(nodePlatform, path), null, 'there is no such socket')

  const services = { handlers: [here, refused(applyUpdates)] }
  const first = await ControlServer.start(nodePlatform, path, () => {}, services)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const client = await connected(path)
  t.strictSame(await ask(client, status, {}), { shipper })
  await t.rejects(ask(client, applyUpdates, { on: true }), { code: 'ERR_WRONG_TYPE' })
  await t.rejects(ask(client, operation('toString', {}), {}), { code: 'ERR_WIRE' })
  client.close()

  // What somebody left who was killed: a socket at which nobody listens.
  const second = await ControlServer.start(nodePlatform, path, () => {}, services)
  const other = await connected(path)
  t.strictSame(await ask(other, status, {}), { shipper })
  other.close()
  await second.close()
  await first.close()
  t.equal(await ControlClient.connect(nodePlatform, path), null)
})

t.test('errors arrive as what they are, and a defect as a defect', async t => {
  const path = join(temporary(t), 's')
  const place = { path: '/x', offset: 7, txn: 3 }
  let fail: () => never = () => {
    throw new HotBackupError('ERR_LOG_CORRUPT', 'rotten', place)
  }
  const server = await ControlServer.start(nodePlatform, path, () => {}, {
    handlers: [handler(status, async () => fail())],
  })
  const client = await connected(path)
  await t.rejects(ask(client, status, {}), {
    code: 'ERR_LOG_CORRUPT',
    message: 'rotten',
    place,
  })
  fail = () => {
    throw new TypeError('a slip')
  }
  await t.rejects(ask(client, status, {}), {
    message: /^the server failed: TypeError: a slip/,
  })
  client.close()

  // Garbage ends its own connection, and nothing else.
  const stranger = createConnection(path)
  const gone = new Promise(resolve => stranger.once('close', resolve))
  stranger.on('error', () => {}).resume()
  stranger.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await gone
  const again = await connected(path)
  await t.rejects(ask(again, status, {}), /a slip/)
  again.close()
  await server.close()
})

t.test('a master is worked on through its socket', async t => {
  const directory = temporary(t)
  const master = await openMaster(join(directory, 'm'))
  t.teardown(() => master.close())
  const client = await connected(layoutOf(join(directory, 'm')).ownerSocket)
  const data = dataOf(client)

  await t.rejects(data.createFile('sales', 'orders', 7), {
    code: 'ERR_NO_ACCOUNT',
    place: { account: 'sales' },
  })
  await data.createAccount('sales')
  await t.rejects(data.createAccount('sales'), { code: 'ERR_EXISTS' })
  await t.rejects(data.createAccount('../sales'), { code: 'ERR_NAME' })
  await data.createFile('sales', 'orders', 7)
  t.strictSame(await data.accounts(), [{ account: 'sales', files: 1 }])

  // Many requests at once are answered each with its own answer.
  const ids = Array.from({ length: 60 }, (_, i) => `item ${i}`)
  const item = (id: string, value: Uint8Array) => {
    const packer = new ItemPacker()
    packer.add(Buffer.from(id), value)
    return packer.take()
  }
  await Promise.all(
    ids.map(id => data.writeItems('sales', 'orders', item(id, Buffer.from(`of ${id}`)))),
  )
  const values = await Promise.all(ids.map(id => data.readItem('sales', 'orders', id)))
  t.strictSame(
    values.map(value => value.toString()),
    ids.map(id => `of ${id}`),
  )
  t.strictSame(await data.files('sales'), [{ file: 'orders', modulo: 7, items: 60 }])

  const largest = Buffer.alloc(16 * MiB, 'large')
  await data.writeItems('sales', 'orders', item('large', largest))
  t.ok(largest.equals(await data.readBytes('sales', 'orders', 'large')))

  const digest = await data.digest('sales', 'orders')
  t.match(digest, /^[0-9a-f]{64}$/)
  t.not(digest, await data.digest(null, null))

  await data.deleteItem('sales', 'orders', 'large')
  await t.rejects(data.deleteItem('sales', 'orders', 'large'), { code: 'ERR_NO_ITEM' })
  await t.rejects(data.readItem('sales', 'orders', 'large'), { code: 'ERR_NO_ITEM' })
  await data.resizeFile('sales', 'orders', 101)
  const found: string[] = []
  for await (const { id, value } of allItems(client, 'sales', 'orders')) {
    found.push(`${id.toString()} ${value.toString()}`)
  }
  t.strictSame(found.sort(), ids.map(id => `${id} of ${id}`).sort())
  await data.clearFile('sales', 'orders')
  await data.deleteFile('sales', 'orders')
  t.notOk(await data.fileExists('sales', 'orders'))
  await data.deleteAccount('sales')
  t.strictSame(await data.accounts(), [])
  client.close()
})

t.test('a reader that stands still holds up nobody, also not the end', async t => {
  const directory = join(temporary(t), 'm')
  const master = await openMaster(directory)
  const { ownerSocket } = layoutOf(directory)
  const client = await connected(ownerSocket)
  const data = dataOf(client)
  await data.createAccount('a')
  await data.createFile('a', 'f', 3)
  for (let i = 0; i < 24; i++) {
    const packer = new ItemPacker()
    packer.add(Buffer.from(`${i}`), Buffer.alloc(2 * MiB, i))
    await data.writeItems('a', 'f', packer.take())
  }
  let settled = 0
  const parts = master.handlers.map(known => ({
    ...known,
    async *run(...request: Parameters<typeof known.run>) {
      const answer = known.run(...request)
      for (;;) {
        const next = await answer.next()
        if (next.done === true) return next.value
        settled++
        yield next.value
      }
    },
  }))
  const path = join(directory, 'counting')
  const server = await ControlServer.start(nodePlatform, path, () => {}, {
    handlers: parts,
  })
  const slow = await connected(path)
  const items = allItems(slow, 'a', 'f')
  await items.next()
  // 12 parts of 4 MiB are to come. Others are served meanwhile, until nothing more happens.
  for (let before = -1; before !== settled;) {
    before = settled
    for (let i = 0; i < 50; i++) {
      if ((await data.files('a'))[0]?.items !== 24) t.fail('others are served')
    }
  }
  t.ok(settled > 0 && settled < 10, `not everything is read ahead: ${settled} parts`)

  // The request that comes when the server closes has not been carried out, and says so.
  const closing = master.close()
  const late = data.createAccount('late').then(
    () => null,
    (error: unknown) => error,
  )
  await Promise.all([server.close(), closing])
  t.ok(isClosed(await late))
  t.ok(settled < 11, `the long answer is broken off: ${settled} parts`)
  await t.rejects(
    (async () => {
      for await (const _ of items) void _
    })(),
    { code: 'ERR_CLOSED' },
  )
  await t.rejects(data.accounts(), { message: /before it took/ })
  const again = await Master.open(directory)
  t.strictSame(again.accounts(), ['a'])
  await again.close()
})

t.test(
  'what a crash left is read without a change: database, log, and what is behind log/durable',
  async t => {
    const parent = temporary(t)
    const directory = join(parent, 'm')
    const master = await openMaster(directory)
    await (await master.createAccount('a')).createFile('f')
    await master.checkpoint()
    await master.account('a').file('f').write('1', 'in the log alone')
    const crashed = join(parent, 'crashed')
    cpSync(directory, crashed, { recursive: true, filter: name => !name.endsWith('.sock') })
    await master.close()

    const layout = layoutOf(crashed)
    const item = () =>
      withData(nodePlatform, crashed, 'read', data => dataOf(data).readItem('a', 'f', '1'))
    t.equal(await item(), 'in the log alone')
    rmSync(join(layout.log, 'durable'))
    t.equal(await item(), 'in the log alone')
    const before = readdirSync(crashed, { recursive: true })
    t.equal(await item(), 'in the log alone')
    t.strictSame(readdirSync(crashed, { recursive: true }), before)
  },
)

t.test('a reader of files notices a server that starts, and finds its way', async t => {
  const directory = join(temporary(t), 'm')
  const write = async (id: string) => {
    const master = await Master.open(directory)
    await master.account('a').file('f').write(id, `of ${id}`)
    await master.close()
  }
  const first = await openMaster(directory)
  const account = await first.createAccount('a')
  await account.createFile('f', { modulo: 3 })
  await first.close()
  await write('1')

  const layout = layoutOf(directory)
  const config = await loadConfig(nodePlatform.disk, layout)
  const files = await FileReader.open(nodePlatform, layout, config)
  const read1 = () => dataOf(localCaller(files.handlers)).readItem('a', 'f', '1')
  t.equal(await read1(), 'of 1')

  await withData(nodePlatform, directory, 'read', async caller => {
    const data = dataOf(caller)
    t.equal(await data.readItem('a', 'f', '1'), 'of 1')
    await write('2')
    t.equal(await data.readItem('a', 'f', '2'), 'of 2', 'by the files as they are now')
    const master = await Master.open(directory)
    await master.account('a').file('f').write('3', 'of 3')
    await master.close()
    t.equal(await data.readItem('a', 'f', '3'), 'of 3')
  })
  await t.rejects(read1(), { code: 'ERR_DATABASE_CHANGED' })
  await files.close()

  // Two who write at the same time: the second uses the first, or takes over from it.
  await Promise.all(
    ['4', '5'].map(id =>
      withData(nodePlatform, directory, 'write', async data => {
        const packer = new ItemPacker()
        packer.add(Buffer.from(id), Buffer.from(`of ${id}`))
        await dataOf(data).writeItems('a', 'f', packer.take())
      }),
    ),
  )
  const last = await Master.open(directory)
  t.equal(last.account('a').file('f').itemCount, 5)
  await last.close()
})

function isClosed(error: unknown): boolean {
  return error instanceof HotBackupError && error.code === 'ERR_CLOSED'
}
