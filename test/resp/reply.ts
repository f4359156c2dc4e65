// Replies, byte for byte, in both versions of the protocol.
import t from 'tap'
import { Reply } from '../../src/resp/reply.ts'

function written(protocol: 2 | 3, write: (reply: Reply) => void): string {
  const reply = new Reply(1 << 20)
  reply.protocol = protocol
  write(reply)
  return reply.take().toString('latin1')
}

t.test('each type as RESP2 and RESP3 have it', async t => {
  const cases: [string, (reply: Reply) => void, string, string][] = [
    ['ok', reply => reply.ok(), '+OK\r\n', '+OK\r\n'],
    ['simple', reply => reply.simple('PONG'), '+PONG\r\n', '+PONG\r\n'],
    ['error', reply => reply.error('ERR a\r\nb'), '-ERR a  b\r\n', '-ERR a  b\r\n'],
    ['bulk', reply => reply.bulk(Buffer.from('a\0b')), '$3\r\na\0b\r\n', '$3\r\na\0b\r\n'],
    ['empty', reply => reply.bulkText(''), '$0\r\n\r\n', '$0\r\n\r\n'],
    ['text', reply => reply.bulkUtf8('é'), '$2\r\n\xc3\xa9\r\n', '$2\r\n\xc3\xa9\r\n'],
    ['nil', reply => reply.nil(), '$-1\r\n', '_\r\n'],
    ['nil array', reply => reply.nilArray(), '*-1\r\n', '_\r\n'],
    ['bulk or nil', reply => reply.bulkOrNil(null), '$-1\r\n', '_\r\n'],
    ['array', reply => reply.array(12), '*12\r\n', '*12\r\n'],
    ['map', reply => reply.map(2), '*4\r\n', '%2\r\n'],
    ['set', reply => reply.set(2), '*2\r\n', '~2\r\n'],
    ['boolean', reply => reply.boolean(true), ':1\r\n', '#t\r\n'],
    ['double', reply => reply.double('1.5'), '$3\r\n1.5\r\n', ',1.5\r\n'],
    ['verbatim', reply => reply.verbatim('hé'), '$3\r\nh\xc3\xa9\r\n', '=7\r\ntxt:h\xc3\xa9\r\n'],
    [
      'big',
      reply => reply.integer(2n ** 63n - 1n),
      ':9223372036854775807\r\n',
      ':9223372036854775807\r\n',
    ],
  ]
  for (const [name, write, two, three] of cases) {
    t.equal(written(2, write), two, `${name} in RESP2`)
    t.equal(written(3, write), three, `${name} in RESP3`)
  }
})

t.test('whole numbers of every length', async t => {
  for (let digits = 1; digits <= 15; digits++) {
    for (const value of [10 ** digits - 1, 10 ** digits, 10 ** (digits - 1)]) {
      t.equal(
        written(2, reply => reply.integer(value)),
        `:${value}\r\n`,
      )
      t.equal(
        written(2, reply => reply.integer(-value)),
        `:-${value}\r\n`,
      )
    }
  }
  t.equal(
    written(2, reply => reply.integer(0)),
    ':0\r\n',
  )
})

t.test('the buffer grows up to its limit, and gives back what it has taken', async t => {
  const reply = new Reply(1 << 20)
  for (let index = 0; index < 30; index++) reply.bulk(Buffer.alloc(20_000, index))
  const before = reply.end
  t.throws(() => reply.bulk(Buffer.alloc(600_000)), { message: /^ERR the reply is larger/ })
  reply.cutBack(before)
  const taken = reply.take()
  t.equal(taken.length, 30 * 20_010)
  t.equal(taken[20_010 * 29 + 8], 29)
  t.ok(reply.bytes.length < 20_000)
  reply.ok()
  t.equal(reply.take().toString(), '+OK\r\n')
})

t.test('a reply can be taken back', async t => {
  const reply = new Reply(1 << 20)
  reply.ok()
  const { end } = reply
  reply.array(3)
  reply.cutBack(end)
  reply.error('ERR no')
  t.equal(reply.take().toString(), '+OK\r\n-ERR no\r\n')
})
