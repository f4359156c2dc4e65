// The simulation in short: some stories of test/sim, that the same seed is the same story, and that it would find
// bugs. All of it is "npm run test:sim" (test/sim/run.ts).
import t from 'tap'
import { campaign } from './sim/pool.ts'
import { checkFits, planted } from './sim/planted.ts'
import { play } from './sim/story.ts'
import { long } from './helpers/long-form.ts'

t.setTimeout(600_000)

/** Found in one of a few stories each: the others take longer, see "npm run test:sim -- --planted all". */
const quicklyFound = ['transaction split', 'log not synced', 'ack before store']

const stories = long ? 4000 : 80

t.test(`${stories} stories end well`, async t => {
  t.setTimeout(long ? 14_400_000 : 300_000)
  // They take 10 s; a machine that is busy with other things plays fewer.
  const enough = Date.now() + (long ? 7_200_000 : 90_000)
  let played = 0
  const failed: string[] = []
  await campaign({
    from: 1,
    seeds: stories,
    planted: null,
    heard: ({ seed, error }) => {
      played++
      if (error !== null) failed.push(`npm run test:sim -- --seed ${seed}: ${error}`)
      return Date.now() < enough
    },
  })
  if (played < stories) t.comment(`${played} stories in the time that there was`)
  t.ok(played > 0)
  t.same(failed, [])
})

t.test('the same seed is the same story', async t => {
  t.setTimeout(300_000)
  for (const seed of [1, 6, 7]) {
    const [first, second] = [
      await play(seed, { traced: false, hashed: true }),
      await play(seed, { traced: false, hashed: true }),
    ]
    t.equal(first.digest, second.digest, `seed ${seed}`)
    t.equal(first.events, second.events)
  }
})

t.test('planted bugs fit the program', async t => {
  t.setTimeout(300_000)
  const names = new Set(planted.map(({ name }) => name))
  t.equal(names.size, planted.length)
  for (const bug of planted) {
    t.doesNotThrow(() => checkFits(bug), bug.name)
  }
})

t.test('some planted bugs are found at once', async t => {
  t.setTimeout(300_000)
  for (const name of quicklyFound) {
    let found = false
    await campaign({
      from: 1,
      seeds: 40,
      planted: name,
      heard: ({ error }) => {
        found ||= error !== null
        return !found
      },
    })
    t.ok(found, name)
  }
})
