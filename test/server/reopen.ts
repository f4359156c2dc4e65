// A slave's server whose program has a defect: it asks to be started again, so often as it may, and then it goes on
// past the transaction, which lies in lost-found.
import t from 'tap'
import { HashedFile } from '../../src/database/hashed-file.ts'
import { Master } from '../../src/index.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { openAgain } from '../../src/control/owner.ts'
import { SlaveServer } from '../../src/server/slave-server.ts'
import { ok, Pair, replay, startAlone, statusOf } from '../helpers/servers.ts'

t.test('a defect in the middle of a transaction', async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const file = await (await master.createAccount('A')).createFile('F')
  await master.transaction(transaction => {
    transaction.write(file, 'half', 'of it')
    transaction.write(file, 'poison', '')
  })
  await file.write('after', 'it')

  // From here on there is the defect; this process is the slave.
  const write = Object.getOwnPropertyDescriptor(HashedFile.prototype, 'writeItem')!
    .value as HashedFile['writeItem']
  HashedFile.prototype.writeItem = function (bytes, idStart, idEnd, valueEnd, txn) {
    if (Buffer.from(bytes.subarray(idStart, idEnd)).toString() === 'poison') {
      throw new RangeError('a defect')
    }
    write.call(this, bytes, idStart, idEnd, valueEnd, txn)
  }
  const said: string[] = []
  const start = () =>
    SlaveServer.start(
      nodePlatform,
      pair.slave,
      (_level, message) => said.push(message),
      error => t.fail(error.message),
    )
  /** Commands take the directory for a moment when its server has closed it; another server, for good. */
  const startBehindACommand = async () => {
    const layout = layoutOf(pair.slave)
    const own = (purpose: string) => nodePlatform.locks.acquire(layout.ownerLock, purpose, () => {})
    const other = await own('slave')
    await t.rejects(openAgain(nodePlatform, layout, start), { code: 'ERR_RUNNING' })
    await other.release()
    const command = await own('hb apply')
    let tries = 0
    return openAgain(nodePlatform, layout, async () => {
      if (++tries === 2) await command.release()
      return start()
    })
  }
  let server = await start()
  await startAlone(pair.master)
  for (let times = 0; times < 3; times++) {
    await server.reopen
    t.equal((await statusOf(pair.slave)).lostAndFound, times < 2 ? 0 : 1)
    await server.stop()
    server = await (times === 0 ? startBehindACommand() : start())
  }
  await ok('wait', '-d', pair.master, '--timeout', '60')
  t.equal((await statusOf(pair.slave)).lostAndFound, 1)
  t.equal(await ok('read', '-d', pair.slave, 'A', 'F', 'after'), 'it')
  t.match(said.join('\n'), /lies in lost-found: a defect(.|\n)*the database is opened again/)

  // Replayed, it fails again: the command says why, and nothing is gone or half done.
  const replayed = await replay('-d', pair.slave, '--lost-found', 'all')
  t.match(replayed, {
    code: 1,
    stderr: /ERR_APPLY: transaction 3 of lost-found cannot be applied/,
  })
  await server.reopen
  await server.stop()
  HashedFile.prototype.writeItem = write
  t.match(await replay('-d', pair.slave, '--lost-found', 'all'), { code: 0 })
  server = await start()
  const digests = await pair.digests()
  t.equal(digests.slave, digests.master)
  await server.stop()
  await master.close()
})
