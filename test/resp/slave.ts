// A master and its slave, both behind the Redis protocol, with a real link between them.
import path from 'node:path'
import t, { type Test } from 'tap'
import { layoutOf } from '../../src/config/layout.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { Master } from '../../src/server/master.ts'
import { ShipperServer } from '../../src/server/shipper-server.ts'
import { SlaveServer } from '../../src/server/slave-server.ts'
import { SlaveStore } from '../../src/server/slave-store.ts'
import { RespClient, type Value } from '../helpers/resp-client.ts'
import { openDoor } from '../helpers/resp-servers.ts'
import { freePort, ok, temporaryDirectory } from '../helpers/servers.ts'

const quiet = () => {}
const text = (value: Value) => (value instanceof Error ? value.message : value)

async function clientOf(t: Test, directory: string): Promise<RespClient> {
  const client = await RespClient.open(path.join(directory, 'run', 'resp.sock'))
  t.teardown(() => client.close())
  return client
}

t.test('a slave reads what its master has written, and follows no order to write', async t => {
  const root = temporaryDirectory(t)
  const [alpha, beta] = [path.join(root, 'alpha'), path.join(root, 'beta')]
  const address = `127.0.0.1:${await freePort()}`
  await ok(
    'setup',
    '-d',
    alpha,
    '--type',
    'master',
    '--name',
    'alpha',
    '--slave',
    `beta=${address}`,
  )
  const key = path.join(alpha, 'hb.key')
  const asSlave = ['--type', 'slave', '--name', 'beta', '--listen', address, '--key', key]
  await ok('setup', '-d', beta, ...asSlave)
  const master = await Master.open(alpha)
  const slave = await SlaveServer.start(nodePlatform, beta, quiet, quiet)
  const shipper = await ShipperServer.start(nodePlatform, alpha, quiet, quiet)
  const log = layoutOf(beta).log
  const store = new SlaveStore(slave.data, nodePlatform.disk, log, () => slave.status())
  const doors = [
    await openDoor(t, 'alpha', alpha, master.store),
    await openDoor(t, 'beta', beta, store),
  ]
  t.teardown(async () => {
    for (const door of doors) await door.close()
    await shipper.stop()
    await slave.stop()
    await master.close()
  })
  const [there, here] = [await clientOf(t, alpha), await clientOf(t, beta)]

  t.equal(await there.call('SET', 'k', 'v'), 'OK')
  t.equal(await there.call('HSET', 'A/F', 'f', 'v'), 1)
  t.equal(await there.call('WAIT', 1, 30_000), 1, 'what one slave has applied')
  t.equal(await here.call('GET', 'k'), 'v')
  t.same(await here.call('HGETALL', 'A/F'), ['f', 'v'])
  t.same(await there.call('WAITAOF', 1, 1, 30_000), [1, 1])
  t.equal(await there.call('WAIT', 2, 50), 1, 'there is no second one')
  t.same(
    await there
      .pipeline([['MULTI'], ['SET', 'k', 'w'], ['WAIT', 0, 1], ['EXEC']])
      .then(replies => (replies.at(-1) as Value[])[0]),
    'OK',
  )

  const refused: string[][] = [
    ['SET', 'k', 'x'],
    ['DEL', 'k'],
    ['FLUSHDB'],
    ['HB.CREATEACCOUNT', 'B'],
  ]
  for (const words of refused) t.match(text(await here.call(...words)), /^READONLY/, words[0]!)
  t.match(text(await here.call('WAIT', 0, 0)), /^ERR WAIT cannot be used with replica/)
  t.same(((await here.call('ROLE')) as Value[]).slice(0, 4), ['slave', 'alpha', 0, 'connected'])
  const [role, , slaves] = (await there.call('ROLE')) as [string, number, Value[]]
  t.same([role, slaves.length], ['master', 1])

  // The ids of the change feed are the same on both: a consumer goes on at the other.
  t.equal(await there.call('WAIT', 1, 30_000), 1)
  const feeds = [there, here].map(client => client.call('XRANGE', 'hb:log', '-', '+'))
  const [onMaster, onSlave] = await Promise.all(feeds)
  t.same(onSlave, onMaster)
  t.ok((onMaster as Value[]).length >= 4)
  t.equal(await there.call('HB.DIGEST'), await here.call('HB.DIGEST'))

  const waiting = here.call('XREAD', 'BLOCK', 30_000, 'STREAMS', 'hb:log', '$')
  await (await clientOf(t, beta)).call('PING')
  await there.call('SET', 'later', 'v')
  t.match(JSON.stringify(await waiting), /"id","later","value","v"/)
})
