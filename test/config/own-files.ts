// By their names alone: which files in a server's directories, in a save and in a copy are the server's own.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { isSavedFile } from '../../src/backup/save.ts'
import { isSeedFile } from '../../src/backup/seed-files.ts'
import {
  filesBelow,
  isDatabaseFile,
  isImageFile,
  isLogFile,
  isSlaveFile,
  ownBelow,
} from '../../src/config/own-files.ts'
import { HotBackupError } from '../../src/errors.ts'
import { keptCopies } from '../../src/log/kept-copies.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { AckFile, ackPath, listAcks, removeAcks, slaveOfAck } from '../../src/ship/ack-file.ts'
import { isLostFile } from '../../src/slave/lost-found.ts'
import { temporaryDirectory } from '../helpers/servers.ts'

const segment = '0000000000000001.log'
const entry = '00000000000000000042-0a1b2c3d'

const kinds: readonly {
  readonly what: string
  readonly isOwn: (name: string) => boolean
  readonly own: readonly string[]
  readonly foreign: readonly string[]
}[] = [
  {
    what: 'log/',
    isOwn: isLogFile,
    own: [
      segment,
      `${segment}.tmp`,
      `${segment}.torn`,
      `${segment}.torn.2`,
      `${segment}.corrupt`,
      `${segment}.repair`,
      'durable',
      'try.tmp',
    ],
    foreign: [
      `${segment}~`,
      `${segment}.bak`,
      `${segment}.gz`,
      `${segment}.torn.old`,
      `.${segment}`,
      `._${segment}`,
      `1.log`,
      'durable~',
      `copy of ${segment}`,
    ],
  },
  {
    what: 'database/',
    isOwn: isDatabaseFile,
    own: ['catalog', 'catalog.tmp', 'journal', '00000001.0000000a'],
    foreign: [
      'catalog~',
      'catalog.bak',
      '00000001.0000000a.gz',
      '._catalog',
      'lost+found',
      '@eaDir',
    ],
  },
  {
    what: 'slaves/',
    isOwn: isSlaveFile,
    own: ['south.ack', 'south.ack.tmp', 'south.seed', 'south.dropped'],
    foreign: [
      '._south.ack',
      'south copy.ack',
      'south.ack~',
      '.south.ack.swp',
      '.ack',
      '-x.ack',
      'README',
    ],
  },
  {
    what: 'lost-found/',
    isOwn: isLostFile,
    own: [entry, `${entry}.gone`, `${entry}.tmp`, 'tries', `before-copy/${entry}`],
    foreign: [`${entry}~`, `${entry} (1)`, 'before-copy/notes', `elsewhere/${entry}`, 'README'],
  },
  {
    what: 'a copy',
    isOwn: isImageFile,
    own: [`log/${segment}`, 'database/catalog'],
    foreign: [
      segment,
      'catalog',
      `log/x/${segment}`,
      'log/README',
      'database/.DS_Store',
      `database/${segment}`,
    ],
  },
  {
    what: 'seed/',
    isOwn: isSeedFile,
    own: [
      'COMPLETE',
      'INSTALLING',
      'state.json',
      'manifest.json',
      'log/durable',
      'south/image-id',
      'south/database/catalog',
      'log/log/durable',
    ],
    foreign: [
      'README',
      'south/README',
      'a/b/COMPLETE',
      '@eaDir/COMPLETE',
      '../COMPLETE',
      'south/log/x',
    ],
  },
  {
    what: 'a save',
    isOwn: isSavedFile,
    own: [
      'manifest.json',
      'INCOMPLETE',
      'INCOMPLETE.tmp',
      'hb.toml.saved',
      'hb.key',
      'role',
      `lost-found/${entry}`,
      'log/durable',
    ],
    foreign: ['hb.toml', 'lost-found/README', 'lost+found/x', 'other/manifest.json', 'README'],
  },
]

for (const { what, isOwn, own, foreign } of kinds) {
  t.test(`the server's own files in ${what}`, async t => {
    for (const name of own) t.ok(isOwn(name), name)
    for (const name of foreign) t.notOk(isOwn(name), name)
  })
}

t.test('a walk passes over what others leave, and over what cannot be read', async t => {
  const directory = temporaryDirectory(t)
  for (const inner of ['log', 'lost+found', '@eaDir', '.snapshot', 'closed']) {
    mkdirSync(path.join(directory, inner))
    writeFileSync(path.join(directory, inner, 'durable'), 'x')
  }
  for (const name of ['.DS_Store', 'Thumbs.db', 'catalog~', 'README']) {
    writeFileSync(path.join(directory, name), 'x')
  }
  const closed = path.join(directory, 'closed')
  // Root would be let in.
  const refused = Object.assign(new Error('EACCES'), { code: 'EACCES', syscall: 'scandir' })
  const disk = {
    ...nodeDisk,
    list: async (place: string) => {
      if (place !== closed) return nodeDisk.list(place)
      throw new HotBackupError('ERR_DISK', 'EACCES', {}, refused)
    },
  }
  t.strictSame(await filesBelow(disk, directory), ['README', 'log/durable'])
  t.strictSame(await ownBelow(disk, directory, isImageFile), ['log/durable'])
  t.strictSame(await filesBelow(disk, path.join(directory, 'nowhere')), [])
  await t.rejects(filesBelow(disk, closed), { code: 'ERR_DISK' }, 'but not over the whole of it')
})

t.test('copies beside an ack count for nothing, and stay', async t => {
  const directory = temporaryDirectory(t)
  const id = new Uint8Array(16).fill(7)
  const acks = await AckFile.open(nodeDisk, directory, 'south', error => t.fail(error.message))
  const positions = { receivedTxn: 9, durableTxn: 9, durableChain: 1, appliedTxn: 8 }
  const ids = { serverId: id, databaseId: id, shipperId: id }
  acks.write({ ...positions, appliedTime: 1, time: 2, ...ids, confirmed: true })
  await acks.close()
  const bytes = readFileSync(ackPath(directory, 'south'))
  const copies = ['south copy.ack', '._south.ack', 'south.ack~', '-x.ack']
  for (const name of copies) writeFileSync(path.join(directory, name), bytes)
  t.strictSame(
    (await listAcks(nodeDisk, directory)).map(({ slave }) => slave),
    ['south'],
  )
  t.strictSame([...copies, 'south.ack'].map(slaveOfAck), [null, null, null, null, 'south'])
  await removeAcks(nodeDisk, directory)
  const left = (await nodeDisk.list(directory)).map(({ name }) => name)
  t.strictSame(left.sort(), [...copies].sort())
})

t.test("a segment's copies are its own alone", async t => {
  const directory = temporaryDirectory(t)
  const own = [`${segment}.torn`, `${segment}.torn.1`, `${segment}.corrupt`]
  for (const name of [
    ...own,
    segment,
    `${segment}.torn~`,
    `${segment}.corrupt.txt`,
    '0000000000000002.log.torn',
  ]) {
    writeFileSync(path.join(directory, name), 'x')
  }
  const found = await keptCopies(nodeDisk, path.join(directory, segment))
  t.strictSame(found.map(file => path.basename(file)).sort(), [...own].sort())
})
