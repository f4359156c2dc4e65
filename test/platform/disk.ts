// Both disks, the real one and the one for tests, keep the promises of the port; then what each adds.
import fs, {
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { readFile, writeFileAtomic } from '../../src/platform/atomic-file.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../../src/platform/disk.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'hb-disk-')))
t.teardown(() => rmSync(directory, { recursive: true }))

async function create(disk: Disk, path: string, text: string): Promise<DiskFile> {
  const file = await disk.open(path, 'create')
  await file.write(Buffer.from(text), 0, text.length, 0)
  return file
}

for (const [name, disk, root] of [
  ['node', nodeDisk, directory],
  ['memory', new MemoryDisk(), '/server'],
] as const) {
  t.test(`${name}: files`, async t => {
    await disk.makeDirectory(join(root, 'a', 'b'))
    await disk.makeDirectory(join(root, 'a', 'b'))
    const path = join(root, 'a', 'b', 'file')
    const file = await create(disk, path, 'hello world')
    t.equal(file.path, path)
    t.equal(file.size(), 11)
    file.writeSync(Buffer.from('xxHELLOxx'), 2, 5, 0)
    await file.write(Buffer.from('!'), 0, 1, 20)
    await file.sync()
    file.syncSync()

    const buffer = Buffer.alloc(32, 0x2e)
    t.equal(await file.read(buffer, 1, 5, 0), 5)
    t.equal(buffer.toString('latin1', 0, 8), '.HELLO..')
    t.equal(file.readSync(buffer, 0, 32, 6), 15, 'fewer bytes only at the end')
    t.equal(buffer.toString('latin1', 0, 15), `world${'\0'.repeat(9)}!`)
    t.equal(await file.read(buffer, 0, 32, 21), 0)
    t.equal(file.readSync(buffer, 0, 0, 0), 0)
    t.throws(() => file.readSync(buffer, 30, 3, 0), RangeError)

    await file.truncate(3)
    await file.truncate(5)
    t.equal(file.readSync(buffer, 0, 32, 0), 5)
    t.equal(buffer.toString('latin1', 0, 5), 'HEL\0\0', 'what is cut off does not come back')
    await file.close()
    t.throws(() => file.syncSync(), TypeError)
    t.throws(() => file.closeSync(), TypeError)

    const reader = disk.openSync(path, 'read')
    await t.rejects(reader.write(buffer, 0, 1, 0), { code: 'ERR_DISK', place: { path } })
    t.throws(() => reader.writeSync(buffer, 0, 1, 0), { code: 'ERR_DISK' })
    reader.closeSync()
    await t.rejects(disk.open(path, 'create'), { code: 'ERR_DISK', cause: { code: 'EEXIST' } })
    for (const mode of ['read', 'write'] as const) {
      const error = await disk.open(join(root, 'none'), mode).catch((e: unknown) => e)
      t.ok(isNotFound(error))
      t.match(error, { code: 'ERR_DISK', place: { path: join(root, 'none') } })
      t.throws(() => disk.openSync(join(root, 'none'), mode), { code: 'ERR_DISK' })
    }
  })

  t.test(`${name}: directories`, async t => {
    const place = join(root, 'c')
    await disk.makeDirectory(join(place, 'Z'))
    for (const entry of ['b', 'a', 'é', 'B', '10', '9']) {
      await (await create(disk, join(place, entry), entry)).close()
    }
    const names = async () => (await disk.list(place)).map(entry => entry.name)
    t.strictSame(await names(), ['10', '9', 'B', 'Z', 'a', 'b', 'é'], 'by code unit')
    const directories = (await disk.list(place)).filter(entry => entry.directory)
    t.strictSame(directories, [{ name: 'Z', directory: true }])
    await disk.rename(join(place, 'a'), join(place, 'b'))
    await disk.remove(join(place, '9'))
    await disk.remove(join(place, '9'))
    await disk.remove(join(place, 'Z'))
    await disk.syncDirectory(place)
    t.strictSame(await names(), ['10', 'B', 'b', 'é'])
    t.equal((await readFile(disk, join(place, 'b'), 10))?.toString(), 'a')
    await t.rejects(disk.remove(place), { code: 'ERR_DISK' }, 'only an empty directory')

    t.equal(await disk.exists(place), true)
    t.equal(await disk.exists(join(place, 'b')), true)
    t.equal(await disk.exists(join(place, 'none', 'none')), false)
    t.strictSame(await disk.list(join(place, 'none')), [])
    await t.rejects(disk.rename(join(place, 'none'), join(place, 'x')), { code: 'ERR_DISK' })
    await t.rejects(disk.syncDirectory(join(place, 'none')), { code: 'ERR_DISK' })
    await t.rejects(disk.makeDirectory(join(place, 'b')), { code: 'ERR_DISK' })
    t.ok((await disk.freeBytes(place)) > 0)
  })

  t.test(`${name}: atomic files`, async t => {
    const path = join(root, 'stamp')
    await disk.makeDirectory(root)
    t.equal(await readFile(disk, path, 10), null)
    await writeFileAtomic(disk, path, Buffer.from('one'))
    await (await create(disk, `${path}.tmp`, 'left by a crash')).close()
    await writeFileAtomic(disk, path, Buffer.from('two!'))
    t.equal((await readFile(disk, path, 4))?.toString(), 'two!')
    t.equal(await disk.exists(`${path}.tmp`), false)
    await t.rejects(readFile(disk, path, 3), { code: 'ERR_DISK', message: /4 bytes; at most 3/ })
    await t.rejects(writeFileAtomic(disk, join(root, 'none', 'x'), Buffer.from('x')))
  })
}

/** The directories that are synced by what `work` does. */
async function syncsOf(work: () => Promise<void>): Promise<string[]> {
  const synced: string[] = []
  const { fsync } = fs
  fs.fsync = Object.assign(
    (descriptor: number, done: fs.NoParamCallback) => {
      synced.push(fs.readlinkSync(`/proc/self/fd/${descriptor}`))
      fsync(descriptor, done)
    },
    { __promisify__: fsync.__promisify__ },
  )
  syncBuiltinESMExports()
  try {
    await work()
  } finally {
    fs.fsync = fsync
    syncBuiltinESMExports()
  }
  return synced
}

t.test('node: what only a real disk can show', async t => {
  const path = join(directory, 'secret')
  await (await create(nodeDisk, path, 'x')).close()
  await nodeDisk.makeDirectory(join(directory, 'private'))
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(join(directory, 'private')).mode & 0o777, 0o700)

  t.strictSame(await syncsOf(() => nodeDisk.makeDirectory(join(directory, 'x', 'y', 'z'))), [
    dirname(directory),
    directory,
    join(directory, 'x'),
    join(directory, 'x', 'y'),
  ])
  // Their maker was killed before it could sync the last of them.
  t.strictSame(await syncsOf(() => nodeDisk.makeDirectory(join(directory, 'x', 'y'))), [
    join(directory, 'x'),
  ])
  t.strictSame(await syncsOf(() => nodeDisk.makeDirectory(join(directory, 'x', 'new'))), [
    directory,
    join(directory, 'x'),
  ])

  const full = await nodeDisk.open('/dev/full', 'write')
  const expected = {
    code: 'ERR_DISK_FULL',
    place: { path: '/dev/full' },
    cause: { code: 'ENOSPC' },
  }
  await t.rejects(full.write(Buffer.alloc(10), 0, 10, 0), expected)
  t.throws(() => full.writeSync(Buffer.alloc(10), 0, 10, 0), expected)
  await full.close()

  // What the system says of a page that nobody has.
  const bad = await nodeDisk.open('/proc/self/mem', 'read')
  const later = await caught(() => bad.read(Buffer.alloc(10), 0, 10, 0))
  const now = await caught(() => bad.readSync(Buffer.alloc(10), 0, 10, 0))
  for (const error of [later, now]) {
    t.match(error, { code: 'ERR_DISK', place: { path: '/proc/self/mem' } })
    t.ok(isUnreadable(error))
    t.notOk(isNotFound(error))
  }
  await bad.close()

  writeFileSync(join(directory, 'plain'), '')
  await t.rejects(nodeDisk.list(join(directory, 'secret', 'x', '\0')), TypeError)
  t.equal(await nodeDisk.exists(join(directory, 'plain', 'below')), false)
  symlinkSync('loop', join(directory, 'loop'))
  await t.rejects(nodeDisk.exists(join(directory, 'loop')), { code: 'ERR_DISK' })
  await t.rejects(nodeDisk.list(join(directory, 'loop')), { code: 'ERR_DISK' })
  await t.rejects(nodeDisk.freeBytes(join(directory, 'none')), { code: 'ERR_DISK' })
})

t.test('memory: a crash forgets what was not synced', async t => {
  const disk = new MemoryDisk()
  await disk.makeDirectory('/d')
  const file = await create(disk, '/d/file', 'synced')
  await file.sync()
  disk.crash()
  t.equal(await disk.exists('/d/file'), false, 'its directory was not synced')
  await t.rejects(file.read(Buffer.alloc(1), 0, 1, 0), { code: 'ERR_DISK' })

  const kept = await create(disk, '/d/file', 'synced')
  await kept.sync()
  await disk.syncDirectory('/d')
  await kept.write(Buffer.from('UNSYNCED'), 0, 8, 3)
  await disk.rename('/d/file', '/d/renamed')
  disk.crash()
  t.equal(disk.contents('/d/file').toString(), 'synced')
  t.equal(await disk.exists('/d/renamed'), false)

  await disk.remove('/d/file')
  disk.crash()
  t.equal(await disk.exists('/d/file'), true, 'a removal is a change of the directory too')
  const shorter = await disk.open('/d/file', 'write')
  await shorter.truncate(2)
  disk.crash()
  t.equal(disk.contents('/d/file').toString(), 'synced')

  const torn = await disk.open('/d/file', 'write')
  await torn.write(Buffer.alloc(2048, 'x'), 0, 2048, 0)
  let sector = 0
  disk.crash(() => sector++ === 2)
  const after = disk.contents('/d/file')
  t.equal(after.length, 1536)
  t.equal(after.toString('latin1', 0, 6), 'synced')
  t.equal(after.toString('latin1', 1024), 'x'.repeat(512), 'a later sector without an earlier one')
})

t.test('memory: failures by order', async t => {
  const disk = new MemoryDisk()
  await disk.makeDirectory('/d')
  const file = await create(disk, '/d/file', 'one')
  await disk.syncDirectory('/d')
  disk.failNext('sync')
  await t.rejects(file.sync(), { code: 'ERR_DISK', cause: { code: 'EIO' } })
  await file.sync()
  disk.crash()
  t.equal(disk.contents('/d/file').toString(), '\0\0\0', 'a sync that failed is never made good')

  disk.failNext('open', new Error('mine'), '/d/other')
  await (await disk.open('/d/file', 'read')).close()
  await t.rejects(disk.open('/d/other', 'create'), { message: 'mine' })
  disk.failNext('write', 'ENOSPC')
  await t.rejects(writeFileAtomic(disk, '/d/file', Buffer.from('x')), { code: 'ERR_DISK_FULL' })
  t.strictSame(
    (await disk.list('/d')).map(entry => entry.name),
    ['file'],
  )

  disk.capacityBytes = 10
  const full = await disk.open('/d/file', 'write')
  await t.rejects(full.write(Buffer.from('0123456789ab'), 0, 12, 0), { code: 'ERR_DISK_FULL' })
  t.equal(disk.contents('/d/file').toString(), '0123456789', 'half a write')
  t.equal(await disk.freeBytes(), 0)
  disk.overwrite('/d/file', 3, Buffer.from('#'))
  disk.crash()
  t.equal(disk.contents('/d/file').subarray(3, 4).toString(), '#', 'rot is durable')
})

t.test('memory: whenever it stops, an atomic file is the old one or the new one', async t => {
  await fc.assert(
    fc.asyncProperty(fc.nat(12), fc.infiniteStream(fc.boolean()), async (stop, keep) => {
      const disk = new MemoryDisk()
      await disk.makeDirectory('/d')
      await writeFileAtomic(disk, '/d/file', Buffer.alloc(3000, 'o'))
      let steps = 0
      disk.before = () => {
        if (steps++ === stop) disk.crash(() => keep.next().value ?? false)
        if (steps > stop) throw new Error('the power is off')
      }
      const done = await writeFileAtomic(disk, '/d/file', Buffer.alloc(5000, 'n')).then(
        () => true,
        () => false,
      )
      disk.before = null
      disk.crash(() => keep.next().value ?? false)
      const text = disk.contents('/d/file').toString()
      return text === 'n'.repeat(5000) || (!done && text === 'o'.repeat(3000))
    }),
  )
  t.pass('held')
})

async function caught(work: () => unknown): Promise<unknown> {
  try {
    return await work()
  } catch (error) {
    return error
  }
}
