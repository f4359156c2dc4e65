// A real slave that has lost a file: what the master still sends for it lies in lost-found, the slave goes on, and the
// operator sees it, also after the slave was killed.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Database } from '../../src/database/database.ts'
import { Master } from '../../src/index.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { hb, killServer, ok, Pair, replay, startAlone, statusOf } from '../helpers/servers.ts'

/** A file is gone from the database of a slave that does not run, and no transaction says so. */
async function loseFile(directory: string, account: string, name: string): Promise<void> {
  const options = { cacheBytes: 1, replica: true }
  const database = await Database.open(nodePlatform, directory, options)
  const records = new RecordEncoder(100, 0)
  records.deleteFile(database.file(account, name)!.number)
  records.endTransaction()
  const { stamp } = database
  database.apply(records.bytes, 0, records.end, stamp.txn)
  await database.checkpoint(stamp, Promise.resolve())
  await database.close()
}

interface Lost {
  readonly id: string
  readonly txn: number
  readonly reason: string
}

t.test('what a slave cannot apply is set aside, and seen', async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const account = await master.createAccount('A')
  const [kept, gone] = [await account.createFile('KEPT'), await account.createFile('GONE')]
  await pair.start()
  await pair.digests()
  await ok('apply', '-d', pair.slave, 'off') // At a checkpoint.
  await ok('stop', '-d', pair.slave)
  await loseFile(pair.slave, 'A', 'GONE')
  await ok('apply', '-d', pair.slave, 'on')
  await startAlone(pair.slave)

  await kept.write('a', '1')
  await gone.write('b', '2')
  await master.transaction(transaction => {
    transaction.write(kept, 'c', '3')
    transaction.write(gone, 'd', '4')
  })
  await kept.write('e', '5')
  await gone.write('f', '6')
  await ok('wait', '-d', pair.master, '--timeout', '60')
  const read = (item: string) => hb('read', '-d', pair.slave, 'A', 'KEPT', item)
  t.equal((await read('e')).stdout, '5')
  t.equal((await read('c')).code, 3, 'a transaction is never applied in part')
  const status = await statusOf(pair.slave)
  t.equal(status.lostAndFound, 3)
  t.match(await ok('status', '-d', pair.slave), /Lost-found +3 transactions could not be applied/)
  t.match(
    readFileSync(path.join(pair.slave, 'messages.log'), 'utf8'),
    /could not be applied and lies in lost-found: /,
  )

  await killServer(pair.slave)
  await startAlone(pair.slave)
  const lost = JSON.parse(await ok('lost', 'list', '-d', pair.slave, '--json')) as Lost[]
  t.match(
    lost.map(({ reason }) => reason),
    [/no such file \(A GONE\)|no such file$/, /no such file/, /no such file/],
  )
  const [first, second, third] = lost
  t.match(await ok('lost', 'list', '-d', pair.slave), new RegExp(`${first?.id} .*write-item`))
  t.match(JSON.parse(await ok('lost', 'show', '-d', pair.slave, String(second?.txn), '--json')), {
    id: second?.id,
    server: 'beta',
    records: [{ type: 'map-file' }, { type: 'map-file' }, { id: 'c' }, { id: 'd', value: '4' }],
  })
  t.match(
    await ok('lost', 'show', '-d', pair.slave, first!.id),
    /write-item +A GONE +"b" +1 B +"2"/,
  )

  t.equal((await hb('lost', 'show', '-d', pair.slave, '999')).code, 3)

  const dry = await replay('-d', pair.slave, '--lost-found', 'all', '--dry-run')
  t.match(
    dry.stdout,
    /^Nothing has been changed.\nwould replay .*\nwould replay .*\n +A KEPT has later/,
  )
  t.equal((await statusOf(pair.slave)).lostAndFound, 3)
  const replayed = await replay('-d', pair.slave, '--lost-found', first!.id, '--json')
  t.match(JSON.parse(replayed.stdout), { backlog: null, lost: [{ id: first!.id, later: [] }] })
  await killServer(pair.slave)
  // Nobody runs: it opens the slave itself.
  const second2 = await replay('-d', pair.slave, '--lost-found', String(second?.txn))
  t.match(second2, { code: 0, stdout: /^replayed .*\n +A KEPT has later updates, up to/ })
  t.match(await ok('lost', 'discard', '-d', pair.slave, third!.id), /1 transaction discarded/)
  t.match(await ok('lost', 'list', '-d', pair.slave), /empty/)
  await startAlone(pair.slave)
  t.equal((await statusOf(pair.slave)).lostAndFound, 0, 'nothing is met again')
  t.equal((await replay('-d', pair.slave, '--lost-found', third!.id)).code, 3)
  await gone.delete('f')
  const digests = await pair.digests()
  t.equal(digests.slave, digests.master)
  await master.close()
})

t.test('a slave with lost-found is promoted, and its log is replayed without that', async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const account = await master.createAccount('A')
  const [kept, gone] = [await account.createFile('KEPT'), await account.createFile('GONE')]
  await pair.start()
  await pair.digests()
  await ok('apply', '-d', pair.slave, 'off')
  await ok('stop', '-d', pair.slave)
  await loseFile(pair.slave, 'A', 'GONE')
  await ok('apply', '-d', pair.slave, 'on')
  await startAlone(pair.slave)
  await gone.write('b', '2')
  await kept.write('a', '1')
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('stop', '-d', pair.master)
  await master.close()
  const { apply, lostAndFound } = await statusOf(pair.slave)
  t.equal(lostAndFound, 1)
  t.ok(apply.checkpointTxn < apply.appliedTxn - 1, 'a start meets the transaction again')
  await ok('stop', '-d', pair.slave)
  t.equal(await ok('read', '-d', pair.slave, 'A', 'KEPT', 'a'), '1', 'by a command that only reads')
  t.match(await ok('promote', '-d', pair.slave), /lost-found holds 1 transaction/)
  const promoted = await Master.open(pair.slave)
  const file = promoted.account('A').file('KEPT')
  t.equal(String(await file.read('a')), '1')
  await file.write('c', '3')
  await promoted.close()
})
