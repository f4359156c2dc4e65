// Many commands and few owners: a copied directory, commands that come all at once, starts that collide.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import t from 'tap'
import { long } from '../helpers/long-form.ts'
import { hb, hbProcess, ok, Pair, statusOf } from '../helpers/servers.ts'

t.test('a copy of a running server is a server of its own, and stopped', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { pid } = await statusOf(pair.slave)
  const copy = path.join(pair.root, 'copy')
  execFileSync('cp', ['-a', pair.slave, copy])
  t.match(await statusOf(copy), { running: false, pid: null })
  t.match(await hb('stop', '-d', copy), { code: 4, stderr: /ERR_NOT_RUNNING/ })
  t.match(await statusOf(pair.slave), { running: true, pid }, 'the original has not noticed')
})

t.test('commands that come all at once wait for each other', async t => {
  const pair = await Pair.make(t)
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  const ids = Array.from({ length: long ? 60 : 10 }, (_, i) => `item ${i}`)
  const outcomes = await Promise.all(
    ids.map(id => hbProcess('write', '-d', pair.master, 'A', 'F', id, id)),
  )
  t.strictSame(
    outcomes.filter(({ code }) => code !== 0),
    [],
  )
  const listed = await ok('list', '-d', pair.master, 'A', 'F')
  t.strictSame(listed.trim().split('\n').sort(), [...ids].sort())
})

t.test('of starts that come all at once one starts the server, and the others say so', async t => {
  const pair = await Pair.make(t)
  for (const directory of [pair.slave, pair.master]) {
    const starts = await Promise.all(
      Array.from({ length: 4 }, () => hbProcess('start', '-d', directory)),
    )
    const codes = starts.map(({ code }) => code).sort((a, b) => a - b)
    t.strictSame(codes, [0, 4, 4, 4], starts.map(({ stderr }) => stderr).join(''))
    const { pid } = await statusOf(directory)
    for (const { code, stderr } of starts) {
      if (code !== 0) t.match(stderr, `process ${pid}`)
    }
  }
})
