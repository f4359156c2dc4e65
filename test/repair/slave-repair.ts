// Repair on a slave at work: when it is stopped nothing of it goes on, and an error of the disk behind it is said.
import t from 'tap'
import { layoutOf } from '../../src/config/layout.ts'
import { HotBackupError } from '../../src/errors.ts'
import { readPiece } from '../../src/log/pieces.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { SlaveRepair } from '../../src/repair/slave-repair.ts'
import type { Retention } from '../../src/updates/retention.ts'
import {
  commitEach,
  HandClock,
  identity,
  logDirectory,
  openHistory,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const turns = async () => {
  for (let i = 0; i < 50; i++) await new Promise(setImmediate)
}

/** `look` is called when the log is verified again, behind the repair. */
async function makeRepair(look: () => Promise<void>) {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  await commitEach(log, 5)
  await log.close()
  const said: string[] = []
  const happened = { reopened: 0, verifying: false }
  const list = disk.list.bind(disk)
  Object.assign(disk, {
    list: async (path: string) => {
      if (happened.verifying) await look()
      return list(path)
    },
  })
  const repair = new SlaveRepair({
    platform: { ...nodePlatform, disk, clock: new HandClock() },
    layout: layoutOf('/server'),
    retention: { hold: () => () => {} } as unknown as Retention,
    mastersLog: () => ({
      read: (segmentFirstTxn, offset, length) => {
        const { databaseId } = identity
        return readPiece(disk, logDirectory, { databaseId, segmentFirstTxn, offset, length })
      },
    }),
    peers: () => Promise.resolve([]),
    standsStill: () => (happened.verifying = true),
    reopen: () => happened.reopened++,
    say: (_, message) => said.push(message),
  })
  repair.damaged(new HotBackupError('ERR_LOG_CORRUPT', 'a block is damaged'))
  return { repair, said, happened }
}

t.test('stopping waits for what comes of it, and opens nothing again', async t => {
  let goOn = () => {}
  const held = new Promise<void>(resolve => (goOn = resolve))
  const { repair, happened } = await makeRepair(() => held)
  while (!happened.verifying) await turns()
  let stopped = false
  const stopping = repair.stop().then(() => (stopped = true))
  await turns()
  t.equal(stopped, false, 'the log is still being read')
  goOn()
  await stopping
  t.equal(happened.reopened, 0)
})

t.test('a disk that fails behind the repair is said', async t => {
  const failing = () => Promise.reject(new HotBackupError('ERR_DISK', 'the disk is gone'))
  const { repair, said, happened } = await makeRepair(failing)
  for (let i = 0; i < 20 && said.length < 2; i++) await turns()
  t.match(said, [
    'the log is damaged: a block is damaged',
    /could not be repaired: the disk is gone/,
  ])
  t.equal(happened.reopened, 0)
  await repair.stop()
})
