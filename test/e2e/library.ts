// The README's program after the README's quick start, and an application that starts while commands are at work.
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { hbProcess, ok, Pair } from '../helpers/servers.ts'

const run = promisify(execFile)
const library = new URL('../../src/index.js', import.meta.url).href
const example = new URL('../../examples/library.js', import.meta.url).pathname

t.test("the README's program runs after the README's quick start, and again", async t => {
  const readme = readFileSync('README.md', 'utf8')
  const shell = [...readme.matchAll(/```sh\n([^]*?)```/g)].map(([, text = '']) => text).join('')
  const program = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? ''
  const pair = await Pair.make(t)
  for (const directory of [pair.slave, pair.master]) await ok('start', '-d', directory)
  const customers = path.join(pair.root, 'customers.csv')
  writeFileSync(customers, 'ID,NAME\nCUST*1000,Ada\nCUST*1001,Grace\n')
  for (const line of shell.split('\n')) {
    const [, command] = /^hb ((?:create-account|import) .*)$/.exec(line) ?? []
    if (command === undefined) continue
    const args = command.replace('/srv/alpha', pair.master).replace('customers.csv', customers)
    await ok(...args.split(' '))
  }

  const file = path.join(pair.root, 'program.mjs')
  const quoted = JSON.stringify(pair.master)
  writeFileSync(
    file,
    program.replace("'hotbackup'", `'${library}'`).replace("'/srv/alpha'", quoted),
  )
  for (const count of [1, 2]) {
    const { stdout } = await run(process.execPath, [file])
    t.match(stdout, /^Ada Lovelace\n/)
    t.match(stdout, `ORDER.COUNT = ${count}\n`, `run ${count}`)
    t.match(stdout, /^CUST\*1001 = .*Grace/m, 'what was imported is there')
  }
  for (const line of ['3 orders\n', '4 orders\n']) {
    const { stdout } = await run(process.execPath, [example, pair.master])
    t.match(stdout, line, 'the example does the same')
  }
  const { master, slave } = await pair.digests()
  t.equal(master, slave)
})

t.test('a master is opened while commands have it open one after the other', async t => {
  const pair = await Pair.make(t)
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  let done = false
  const write = async (name: string) => {
    for (let i = 0; i < 3 || !done; i++) {
      const { code, stderr } = await hbProcess('write', '-d', pair.master, 'A', 'F', name, `${i}`)
      if (code !== 0) throw new Error(stderr)
    }
  }
  const writing = Promise.all([write('a'), write('b')])
  for (let i = 0; i < 3; i++) {
    const master = await Master.open(pair.master)
    t.ok(master.account('A').file('F').itemCount <= 2)
    await master.close()
  }
  done = true
  await writing
})

t.test('a program that ends at a signal closes its master first', async t => {
  const pair = await Pair.make(t)
  const file = path.join(pair.root, 'program.mjs')
  // Heard once, as programs do it: what else listens to signals in this process must not end it meanwhile.
  writeFileSync(
    file,
    `import { Master } from '${library}'
process.once('SIGTERM', async () => {
  await new Promise(resolve => setTimeout(resolve, 50))
  await master.close()
  console.log('closed')
})
const master = await Master.open(${JSON.stringify(pair.master)})
process.kill(process.pid, 'SIGTERM')
`,
  )
  t.match(await run(process.execPath, [file]), { stdout: 'closed\n' })
})
