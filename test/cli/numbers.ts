// Numbers for people: src/text/numbers.ts.
import fc from 'fast-check'
import t from 'tap'
import { count, counted } from '../../src/text/numbers.ts'

t.test('numbers have separators, as the language has them', t => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), number => count(number) === number.toLocaleString('en-US')),
  )
  t.equal(count(1_234_567), '1,234,567')
  t.equal(counted(1, 'item'), '1 item')
  t.equal(counted(1000, 'item'), '1,000 items')
  t.end()
})
