// The parser of requests: against a simple model that sees the whole input at once, however the input is cut.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { ProtocolError, RequestParser, type ParserLimits } from '../../src/resp/parser.ts'

const limits: ParserLimits = { argumentsMax: 20, argumentBytesMax: 300, requestBytesMax: 700 }
const runs = process.env['HB_LONG'] === undefined ? 20_000 : 1_000_000

type Outcome = (readonly string[] | { readonly error: string })[]

/** Feeds the chunks; each request as an array of arguments, a byte a character. An error is the last outcome. */
function parsed(chunks: readonly Buffer[], parser = new RequestParser(limits)): Outcome {
  const outcome: Outcome = []
  try {
    for (const chunk of chunks) {
      parser.feed(chunk)
      while (parser.next()) {
        const { request } = parser
        outcome.push(Array.from({ length: request.count }, (_, index) => request.latin1(index)))
      }
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    outcome.push({ error: error.message })
  }
  return outcome
}

/** The same by the rules of the protocol, over a whole input. */
function modelled(input: string): Outcome {
  const outcome: Outcome = []
  let rest = input
  try {
    while (rest !== '') {
      const taken = rest.startsWith('*') ? takeArray(rest) : takeInline(rest)
      if (taken === null) break
      if (taken.words.length > 0) outcome.push(taken.words)
      rest = rest.slice(taken.length)
    }
  } catch (error) {
    outcome.push({ error: (error as Error).message })
  }
  return outcome
}

interface Taken {
  readonly words: string[]
  readonly length: number
}

/** The number after `at`, and where its line ends; null when the line has not ended yet. */
function takeNumber(text: string, at: number, message: string) {
  const line = /^-?\d*/.exec(text.slice(at))![0]
  const behind = text.slice(at + line.length)
  if (line.replace('-', '').length > 15) throw new Error(message)
  if (behind === '' || behind === '\r') return null
  if (!behind.startsWith('\r\n') || !/^(0|-?[1-9]\d*)$/.test(line)) throw new Error(message)
  return { value: Number(line), end: at + line.length + 2 }
}

function takeArray(text: string): Taken | null {
  const head = takeNumber(text, 1, 'invalid multibulk length')
  if (head === null) return null
  if (head.value > limits.argumentsMax) throw new Error('invalid multibulk length')
  const words: string[] = []
  let at = head.end
  for (let index = 0; index < head.value; index++) {
    if (at === text.length) return null
    if (text[at] !== '$') throw new Error(`expected '$', got '${text[at]}'`)
    const length = takeNumber(text, at + 1, 'invalid bulk length')
    if (length === null) return null
    const { value, end } = length
    if (value < 0 || value > limits.argumentBytesMax) throw new Error('invalid bulk length')
    if (end + value > limits.requestBytesMax) throw new Error('too big request')
    if (text.length < end + value + 2) return null
    if (text.slice(end + value, end + value + 2) !== '\r\n') {
      throw new Error('expected a line end behind the argument')
    }
    words.push(text.slice(end, end + value))
    at = end + value + 2
  }
  return { words, length: at }
}

function takeInline(text: string): Taken | null {
  const end = text.indexOf('\n')
  if (end < 0) return null
  const line = text.slice(0, end).replace(/\r$/, '')
  const words: string[] = []
  const space = '[ \\t\\n\\v\\f\\r]'
  const quoted = `"(?:\\\\[^]|[^"\\\\])*"(?=${space}|$)`
  const single = `'(?:\\\\'|\\\\(?!')|[^'\\\\])*'(?=${space}|$)`
  const pattern = new RegExp(`^${space}*((?:${quoted}|${single}|[^"' \\t\\n\\v\\f\\r])+)`)
  let rest = line
  for (;;) {
    const match = pattern.exec(rest)
    if (match === null) break
    words.push(match[1]!.replace(/"((?:\\[^]|[^"\\])*)"|'((?:\\'|\\(?!')|[^'\\])*)'/g, unquote))
    rest = rest.slice(match[0].length)
  }
  if (!/^[ \t\n\v\f\r]*$/.test(rest)) throw new Error('unbalanced quotes in request')
  return { words, length: end + 1 }
}

function unquote(_: string, double: string | undefined, single: string | undefined): string {
  if (double === undefined) return single!.replace(/\\'/g, "'")
  const letters: Record<string, string> = { n: '\n', r: '\r', t: '\t', b: '\b', a: '\x07' }
  return double.replace(/\\x([\da-f]{2})|\\([^])/gi, (_, code: string, letter: string) =>
    code === undefined ? (letters[letter] ?? letter) : String.fromCharCode(parseInt(code, 16)),
  )
}

const bytes = (text: string) => Buffer.from(text, 'latin1')
const encoded = (words: readonly string[]) =>
  `*${words.length}\r\n` + words.map(word => `$${word.length}\r\n${word}\r\n`).join('')

/** Cuts the input at places that are given as parts of its length. */
function cut(input: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map(place => Math.floor(place * input.length)), input.length]
  let start = 0
  return ends
    .sort((a, b) => a - b)
    .map(end => {
      // In a buffer of its own, as it comes from a socket: what lies behind it is not the parser's.
      const chunk = Buffer.from(input.subarray(start, end))
      start = end
      return chunk
    })
}

const letter = fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code))
const nasty = fc.constantFrom(
  '\r',
  '\n',
  '\r\n',
  '*',
  '$',
  '-',
  '0',
  '1',
  '3',
  '"',
  "'",
  '\\',
  ' ',
  'x',
)
const word = fc.oneof(
  fc.array(letter, { maxLength: 12 }).map(letters => letters.join('')),
  fc.array(nasty, { maxLength: 6 }).map(letters => letters.join('')),
  fc.integer({ min: 0, max: 310 }).map(length => 'v'.repeat(length)),
)
const request = fc.oneof(
  { weight: 5, arbitrary: fc.array(word, { maxLength: 5 }).map(encoded) },
  {
    weight: 2,
    arbitrary: fc.array(nasty, { maxLength: 10 }).map(parts => `get ${parts.join('')}\n`),
  },
  { weight: 1, arbitrary: fc.array(word, { maxLength: 24 }).map(encoded) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('*0\r\n', '*-1\r\n', '\r\n', '*1\r\n$-1\r\n', '*-0\r\n', '*01\r\n'),
  },
  { weight: 1, arbitrary: fc.array(nasty, { maxLength: 8 }).map(parts => parts.join('')) },
)
const change = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  to: fc.oneof(nasty, letter),
})
const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 })

t.test(
  'whatever comes, in whatever chunks, is what the protocol says',
  { timeout: 600_000 },
  async () => {
    const input = fc.record({
      requests: fc.array(request, { maxLength: 6 }),
      changes: fc.array(change, { maxLength: 2 }),
      places,
      byBytes: fc.boolean(),
    })
    fc.assert(
      fc.property(input, ({ requests, changes, places, byBytes }) => {
        let text = requests.join('')
        for (const { at, to } of changes) {
          const place = Math.floor(at * text.length)
          text = text.slice(0, place) + to + text.slice(place + 1)
        }
        const whole = bytes(text)
        const chunks = byBytes ? [...whole].map(byte => Buffer.of(byte)) : cut(whole, places)
        const expected = modelled(text)
        assert.deepEqual(parsed(chunks), expected)
      }),
      { numRuns: runs },
    )
  },
)

t.test('a request in one chunk is used where it lies', async t => {
  const parser = new RequestParser()
  const chunk = bytes(encoded(['SET', 'key', 'value']) + encoded(['GET', 'key']))
  parser.feed(chunk)
  t.equal(parser.next(), true)
  t.equal(parser.request.bytes, chunk)
  t.equal(parser.request.arg(2).toString(), 'value')
  t.equal(parser.next(), true)
  t.equal(parser.request.bytes, chunk)
  t.equal(parser.next(), false)
  t.equal(parser.heldBytes, 0)
})

t.test('of a request in two chunks only the rest is copied', async t => {
  const parser = new RequestParser()
  const input = bytes(encoded(['SET', 'key', 'value']) + encoded(['GET', 'key']))
  parser.feed(Buffer.from(input.subarray(0, 20)))
  t.equal(parser.next(), false)
  t.equal(parser.heldBytes, 20)
  const second = Buffer.from(input.subarray(20))
  parser.feed(second)
  t.equal(parser.next(), true)
  t.equal(parser.request.arg(2).toString(), 'value')
  t.equal(parser.next(), true)
  t.equal(parser.request.bytes, second, 'the next request lies in the chunk')
})

t.test('memory is taken for what has come, and given back', async t => {
  const parser = new RequestParser()
  parser.feed(bytes('*2\r\n$3\r\nSET\r\n$60000000\r\nabc'))
  t.equal(parser.next(), false)
  t.ok(parser.request.bytes.length < 1000, 'an announced length costs nothing')
  for (let mebibytes = 0; mebibytes < 4; mebibytes++) {
    parser.feed(Buffer.alloc(1 << 20, 'v'))
    t.equal(parser.next(), false)
  }
  t.ok(parser.heldBytes > 4 << 20)
  t.ok(parser.request.bytes.length < 10 << 20)
})

t.test('a stranger may say little', async t => {
  const stranger = () => {
    const parser = new RequestParser()
    parser.stranger = true
    return parser
  }
  const error = (message: string) => [{ error: message }]
  const many = bytes(encoded(Array.from({ length: 11 }, () => 'x')))
  t.same(parsed([many], stranger()), error('unauthenticated multibulk length'))
  t.same(parsed([many]), [Array.from({ length: 11 }, () => 'x')])
  const long = bytes('*2\r\n$4\r\nAUTH\r\n$20000\r\n')
  t.same(parsed([long], stranger()), error('unauthenticated bulk length'))
  t.same(
    parsed([bytes('a b c d e f g h i j k\n')], stranger()),
    error('unauthenticated multibulk length'),
  )
  t.same(parsed([bytes(encoded(['AUTH', 'x']))], stranger()), [['AUTH', 'x']])
})

t.test('lines have an end', async t => {
  t.same(parsed([Buffer.alloc(70_000, 'x')]), [{ error: 'too big inline request' }])
  t.same(parsed([bytes('*'), Buffer.alloc(70_000, '0')]), [{ error: 'too big mbulk count string' }])
  t.same(parsed([bytes('*1\r\n$'), Buffer.alloc(70_000, '0')]), [
    { error: 'too big bulk count string' },
  ])
})

t.test('a request that is kept is a copy', async t => {
  const parser = new RequestParser()
  const chunk = bytes(encoded(['SET', 'key', 'value']))
  parser.feed(chunk)
  parser.next()
  const copy = parser.request.copy()
  chunk.fill('x')
  t.equal(copy.latin1(0), 'SET')
  t.equal(copy.text(2), 'value')
  t.equal(copy.is(0, 'set'), true)
  t.equal(copy.is(1, 'set'), false)
  t.equal(copy.size, 11)
})
