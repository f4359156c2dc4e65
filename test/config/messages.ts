// messages.log: written by one process, moved and emptied by others, read by people at a terminal.
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { Output } from '../../src/cli/output.ts'
import type { LineFile } from '../../src/platform/line-file.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { openLineFile } from '../../src/platform/node-line-file.ts'
import { harmlessLine, harmlessText } from '../../src/text/harmless-text.ts'
import { messageText } from '../../src/config/message-text.ts'
import { MessagesLog } from '../../src/config/messages-log.ts'
import { latestMessages } from '../../src/report/latest-messages.ts'

type Tap = Pick<typeof t, 'teardown'>

function temporary(test: Tap): string {
  const directory = mkdtempSync(join(tmpdir(), 'hb-messages-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function said(path: string): string[] {
  const lines = readFileSync(path, 'utf8').split('\n')
  return lines.filter(line => line !== '').map(line => (JSON.parse(line) as { msg: string }).msg)
}

t.test('messages go to a file of bounded size, and none is lost on the way', async t => {
  const path = join(temporary(t), 'messages.log')
  const messages = MessagesLog.toFile(openLineFile, path)
  const text = 'x'.repeat(20_000)
  for (let number = 0; number < 250; number++) messages.log('info', text, { number })
  messages.log('debug', 'a detail')
  messages.release()
  const again = MessagesLog.toFile(openLineFile, path)
  again.log('warn', 'later', { code: null, slave: 'south' })
  again.release()

  const lines = [`${path}.1`, path].flatMap(file =>
    readFileSync(file, 'utf8').trimEnd().split('\n'),
  )
  t.equal(lines.length, 251)
  const numbers = lines.slice(0, 250).map(line => (JSON.parse(line) as { number: number }).number)
  t.strictSame(numbers, [...numbers.keys()])
  t.ok(statSync(`${path}.1`).size < 4.1 * 2 ** 20)
  t.match(messageText(lines.at(-1) ?? ''), /^\d{4}-\d\d-\d\dT\S+Z warn {2}later slave=south$/)
  t.match(messageText(lines.at(-1) ?? '', false), /Z warn {2}later$/)
  t.equal(messageText('no JSON\n'), 'no JSON')
  let told = ''
  MessagesLog.toPeople(line => (told += line)).log('error', 'broken', { code: 'ERR_DISK' })
  t.match(told, /Z error broken code=ERR_DISK\n$/)
})

t.test('messages go where the path leads, whatever others have done to the file', t => {
  const path = join(temporary(t), 'messages.log')
  const messages = MessagesLog.toFile(openLineFile, path)
  t.teardown(() => messages.release())
  messages.log('info', 'first')
  renameSync(path, `${path}.old`)
  messages.log('info', 'after mv')
  t.strictSame(said(`${path}.old`), ['first'])
  t.strictSame(said(path), ['after mv'])
  rmSync(path)
  messages.log('info', 'after rm')
  t.strictSame(said(path), ['after rm'])
  truncateSync(path)
  messages.log('info', 'after copytruncate')
  t.equal(readFileSync(path)[0], 0x7b, 'no hole where the old lines were')
  t.strictSame(said(path), ['after copytruncate'])
  renameSync(path, `${path}.old`)
  writeFileSync(path, '')
  messages.log('info', 'after mv and create')
  t.strictSame(said(path), ['after mv and create'])
  messages.release()
  messages.log('info', 'after SIGHUP')
  t.strictSame(said(path), ['after mv and create', 'after SIGHUP'])
  t.end()
})

t.test('a line that was broken off spoils no other', t => {
  const path = join(temporary(t), 'messages.log')
  writeFileSync(path, '{"level":"info","msg":"the power fai')
  let full = false
  const messages = MessagesLog.toFile(file => {
    const real = openLineFile(file)
    const append = (text: string) => {
      if (full) appendFileSync(file, text.slice(0, 10))
      if (full) throw new Error('the disk is full')
      real.append(text)
    }
    return { ...real, append } satisfies LineFile
  }, path)
  messages.log('info', 'one')
  full = true
  messages.log('info', 'lost')
  messages.log('info', 'lost too')
  full = false
  messages.log('info', 'two')
  messages.release()
  const whole = readFileSync(path, 'utf8')
    .split('\n')
    .filter(line => line.endsWith('}'))
  t.strictSame(
    whole.map(line => (JSON.parse(line) as { msg: string }).msg),
    ['one', 'two'],
  )
  t.end()
})

const at = (second: number) => new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString()
const line = (second: number, msg: string, level = 'warn') =>
  `${JSON.stringify({ level, time: at(second), msg })}\n`

t.test('latest messages: each once, however often it was repeated', async t => {
  const path = join(temporary(t), 'messages.log')
  t.strictSame(await latestMessages(nodeDisk, path), [], 'no file')
  const lines = [line(0, 'ready', 'info')]
  for (let n = 1; n <= 14; n++) lines.push(line(n, 'south is away'), line(n, 'west is away'))
  lines.push(line(20, 'the queue is full', 'error'))
  writeFileSync(path, lines.join(''))
  t.strictSame(await latestMessages(nodeDisk, path), [
    `${at(20)} error the queue is full`,
    `${at(1)} warn  west is away (repeated 14 times, last at ${at(14)})`,
    `${at(1)} warn  south is away (repeated 14 times, last at ${at(14)})`,
    `${at(0)} info  ready`,
  ])
  writeFileSync(path, lines.join('') + line(30, 'x').repeat(100_000) + line(31, 'last'))
  const tail = await latestMessages(nodeDisk, path)
  t.equal(tail[0], `${at(31)} warn  last`)
  t.match(tail[1], /x \(repeated \d+ times/)
  t.equal(tail.length, 2, 'no more than the end of the file is read')
  t.match((await latestMessages(nodeDisk, temporary(t)))[0], /^cannot read /, 'a directory')
})

t.test('latest messages: whatever stands in the file', async t => {
  const path = join(temporary(t), 'messages.log')
  const strange = [
    Buffer.alloc(5000),
    line(1, 'behind a hole'),
    'no JSON\n\n',
    Buffer.from([0xff, 0xfe, 0x1b, 0x5b, 0x32, 0x4a, 0x0a]),
    line(2, 'a\u001b]0;title\u0007\u009b31m\nline two\u202e'),
    'null\n',
    `{"msg":${JSON.stringify('y'.repeat(5000))}}\n`,
  ]
  writeFileSync(path, Buffer.concat(strange.map(part => Buffer.from(part))))
  const [long, none, escape, bytes, text, ...more] = await latestMessages(nodeDisk, path)
  t.equal(more.length, 0)
  t.equal(long?.length, 1000 + 'undefined '.length + 2)
  t.equal(none, 'null')
  t.equal(
    escape,
    `${at(2)} warn  a\\u001b]0;title\\u0007\\u009b31m\\u000aline two\\u202e`,
    'seen, not obeyed',
  )
  t.equal(bytes, '\ufffd\ufffd\\u001b[2J')
  t.equal(text, 'no JSON')
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async found => {
      writeFileSync(path, found)
      return (await latestMessages(nodeDisk, path)).every(shown => !/\p{Cc}/u.test(shown))
    }),
  )
})

t.test('what a terminal would obey is escaped, and JSON still means the same', async t => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      const json = JSON.stringify({ text })
      return (
        !/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u.test(harmlessLine(json)) &&
        (JSON.parse(harmlessText(json)) as { text: string }).text === text
      )
    }),
  )
  t.equal(harmlessText('a\tb\r\n\u007f'), 'a\tb\\u000d\n\\u007f')
  for (const isTTY of [true, false]) {
    let text = ''
    const stream = Object.assign(
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          text += chunk.toString('latin1')
          done()
        },
      }),
      { isTTY },
    )
    const out = new Output(stream)
    await out.line('a\u001b[2J')
    await out.write(Buffer.from('k\u001b\nä'))
    await out.json({ id: '\u009b' })
    t.equal(
      text,
      `a\\u001b[2J\nk${isTTY ? '\\u001b' : '\u001b'}\nÃ¤{\n  "id": "\\u009b"\n}\n`,
      isTTY ? 'data on a terminal' : 'data elsewhere, byte by byte',
    )
  }
})
