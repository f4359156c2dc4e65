// Who has to go from a waiting room that is full: never by age, the address that holds the most, and never an
// address with the key for the sake of strangers.
import fc from 'fast-check'
import t from 'tap'
import { nodeRandom } from '../../src/platform/node-random.ts'
import { addressGroup, WaitingRoom } from '../../src/platform/waiting-room.ts'

function room(places: number) {
  const clock = { now: 0 }
  const waiting = new WaitingRoom<string>(places, nodeRandom, () => clock.now)
  return { waiting, clock }
}

t.test('a flood from one address leaves the others alone', t => {
  const { waiting, clock } = room(64)
  t.equal(waiting.enter('master', '192.0.2.1'), null)
  for (let i = 0; i < 1000; i++) {
    clock.now += 10
    waiting.enter(`stranger ${i}`, '198.51.100.9')
  }
  t.ok(waiting.has('master'))
  t.equal(waiting.size, 64)
  t.end()
})

t.test('a flood from many addresses leaves those alone that have proved the key', t => {
  const { waiting, clock } = room(64)
  waiting.proved('192.0.2.1')
  for (let i = 0; i < 1000; i++) {
    clock.now += 10
    waiting.enter(`stranger ${i}`, `198.51.${i >> 8}.${i & 255}`)
  }
  // Above the rate as well.
  for (let i = 0; i < 1000; i++) waiting.enter(`fast ${i}`, `203.0.${i >> 8}.${i & 255}`)
  t.not(waiting.enter('master', '::ffff:192.0.2.1'), 'master', 'it gets in')
  for (let i = 0; i < 1000; i++) {
    clock.now += 10
    waiting.enter(`more ${i}`, `198.18.${i >> 8}.${i & 255}`)
  }
  t.ok(waiting.has('master'), 'and stays')
  t.end()
})

t.test('behind the same address as a flood, chance decides and not age', t => {
  // So many connections of the flood come while the master proves its key: less than half of the places.
  let stayed = 0
  for (let round = 0; round < 200; round++) {
    const { waiting, clock } = room(128)
    waiting.proved('192.0.2.1')
    for (let i = 0; i < 128; i++) waiting.enter(`before ${i}`, '192.0.2.1')
    waiting.enter('master', '192.0.2.1')
    for (let i = 0; i < 50; i++) {
      clock.now += 3
      waiting.enter(`stranger ${i}`, '192.0.2.1')
    }
    if (waiting.has('master')) stayed++
  }
  // About two in three; the chance of less than one in three is 10⁻²⁰.
  t.ok(stayed > 66, `${stayed} of 200`)
  t.end()
})

t.test('places change hands at a limited rate', t => {
  const { waiting, clock } = room(10)
  for (let i = 0; i < 10; i++) waiting.enter(`first ${i}`, `198.51.100.${i}`)
  const replaced = (name: string) => {
    let count = 0
    for (let i = 0; i < 1000; i++) {
      const member = `${name} ${i}`
      if (waiting.enter(member, '203.0.113.1') !== member) count++
    }
    return count
  }
  t.equal(replaced('at once'), 10)
  clock.now += 100
  t.equal(replaced('later'), 4, 'four times the places in a second')
  clock.now += 1_000_000
  t.equal(replaced('much later'), 10, 'and no more for a long rest')
  t.end()
})

t.test('never more than there are places, and everybody is where it is said to be', t => {
  const action = fc.record({ address: fc.integer({ min: 0, max: 5 }), leave: fc.boolean() })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), actions => {
      const { waiting, clock } = room(7)
      waiting.proved('10.0.0.0')
      const inside = new Set<string>()
      for (const [index, { address, leave }] of actions.entries()) {
        clock.now += 7
        const [somebody] = inside
        if (leave && somebody !== undefined) {
          waiting.leave(somebody)
          waiting.leave(somebody)
          inside.delete(somebody)
        } else {
          const member = String(index)
          const gone = waiting.enter(member, `10.0.0.${address}`)
          if (gone !== member) inside.add(member)
          if (gone !== null) inside.delete(gone)
        }
        if (waiting.size !== inside.size || waiting.size > 7) return false
        if ([...waiting.members()].some(member => !inside.has(member))) return false
      }
      return true
    }),
  )
  t.end()
})

t.test('what is one address', t => {
  for (const [address, group] of [
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['::FFFF:10.1.2.3', '10.1.2.3'],
    ['::1', '0:0:0:0/64'],
    ['::', '0:0:0:0/64'],
    ['2001:db8:0:1::7', '2001:db8:0:1/64'],
    ['2001:db8:0:1:ffff:1:2:3', '2001:db8:0:1/64'],
    ['2001:db8::1', '2001:db8:0:0/64'],
    ['2001:0DB8:0000:0001::9', '2001:db8:0:1/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0/64'],
    ['fe80::1%eth0', 'fe80:0:0:0/64%eth0'],
  ] as const) {
    t.equal(addressGroup(address), group, address)
  }
  t.end()
})
