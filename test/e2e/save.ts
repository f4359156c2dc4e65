// Saves between real servers: a slave that is saved while updates stream in, lost, restored, and catches up by the
// log; and a new slave that is made of a save of the master.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { hb, ok, Pair, startAlone } from '../helpers/servers.ts'

t.test('a slave that is lost comes back from its save and catches up', async t => {
  const pair = await Pair.make(t)
  const toml = path.join(pair.master, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
  // What came after the save is kept, however far the slave was.
  writeFileSync(toml, text.replace(/^#?\s*keep_time.*$/m, 'keep_time = "1h"'))
  const master = await Master.open(pair.master)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 97 })
  await pair.start()
  let done = false
  const writing = (async () => {
    for (let i = 0; !done || i < 5000; i++) {
      const written = file.write(`item ${i % 3000}`, `value ${i}`)
      if (i % 100 === 0) await written
    }
  })()
  const saved = path.join(pair.root, 'saved')
  const manifest = JSON.parse(await ok('save', '-d', pair.slave, '--to', saved, '--json')) as {
    server: object
    stampTxn: number
  }
  t.match(manifest.server, { name: 'beta', type: 'slave' })
  const fromMaster = path.join(pair.root, 'from-master')
  t.match(await ok('save', '-d', pair.master, '--to', fromMaster), /saved to/)
  done = true
  await writing
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('stop', '-d', pair.slave)
  rmSync(pair.slave, { recursive: true })
  t.match(await ok('restore', '--from', saved, '-d', pair.slave), /beta is a slave/)
  await startAlone(pair.slave)
  await file.write('after', 'the restore')
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)

  await ok('stop', '-d', pair.slave)
  rmSync(pair.slave, { recursive: true })
  const setup = ['--type', 'slave', '--name', 'beta', '--listen', `127.0.0.1:${pair.port}`]
  await ok('setup', '-d', pair.slave, ...setup, '--key', path.join(pair.master, 'hb.key'))
  await ok('restore', '--from', fromMaster, '-d', pair.slave)
  await startAlone(pair.slave)
  await file.write('after', 'the other restore')
  const again = await pair.digests()
  t.equal(again.slave, again.master, 'a slave of a save of the master')
  await master.close()

  const refused = await hb('restore', '--from', path.join(pair.root, 'nowhere'), '-d', pair.root)
  t.equal(refused.code, 4)
  t.match(refused.stderr, /^hb: ERR_SAVE: [^\n]+\n$/)
})
