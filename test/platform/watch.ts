// Change notices: a burst of writes ends with a notice, also for files that come later or are replaced.
// Beside it clock and randomness, which have nothing else to hide in.
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sleep } from '../../src/platform/clock.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { fraction } from '../../src/platform/random.ts'

const { clock, random, watcher } = nodePlatform
const directory = mkdtempSync(join(tmpdir(), 'hb-watch-'))
t.teardown(() => rmSync(directory, { recursive: true }))

/** Watches `path`; `notice()` resolves with the next notice that comes after the call. */
function watching(path: string) {
  let notices = 0
  let wake = () => {}
  const watch = watcher.watch(path, () => {
    notices++
    wake()
  })
  const notice = () =>
    new Promise<void>(resolve => {
      wake = resolve
    })
  return { watch, notice, count: () => notices }
}

/** Changes the file until the watch has begun to work: it needs a moment, and says nothing about it. */
async function settled(notice: () => Promise<void>, change: () => void): Promise<void> {
  const first = notice()
  const timer = setInterval(change, 20)
  await first
  clearInterval(timer)
}

t.test('every write of a quick series ends in a notice', async t => {
  const path = join(directory, 'durable')
  writeFileSync(path, '')
  const { watch, notice, count } = watching(path)
  await settled(notice, () => appendFileSync(path, 'x'))
  const before = count()
  for (let i = 0; i < 300; i++) {
    const heard = notice()
    appendFileSync(path, 'x')
    // A write whose notice were dropped would hang here.
    await heard
  }
  t.ok(count() - before >= 300)
  const last = notice()
  for (let i = 0; i < 300; i++) appendFileSync(path, 'x')
  await last
  await watch.close()
})

t.test('a file that comes later, and one that is replaced', async t => {
  const path = join(directory, 'later')
  const { watch, notice } = watching(path)
  await settled(notice, () => writeFileSync(path, 'made'))
  for (let i = 0; i < 3; i++) {
    await settled(notice, () => {
      writeFileSync(`${path}.tmp`, String(i))
      renameSync(`${path}.tmp`, path)
    })
    await settled(notice, () => appendFileSync(path, 'x'))
  }
  await watch.close()
  t.pass('all were noticed')
})

t.test('clock', async t => {
  const start = clock.monotonic()
  const wall = clock.now()
  await sleep(clock, 5)
  t.ok(clock.monotonic() > start)
  t.ok(Number.isSafeInteger(wall))
  let called = false
  clock.after(0, () => (called = true), true).cancel()
  // Longer than Node's longest timer, which it would fire at once.
  const long = clock.after(2 ** 32, () => (called = true))
  await sleep(clock, 5)
  long.cancel()
  t.equal(called, false)
})

t.test('randomness', async t => {
  t.equal(random.bytes(16).length, 16)
  t.notSame(random.bytes(16), random.bytes(16))
  const drawn = Array.from({ length: 100 }, () => fraction(random))
  t.ok(drawn.every(value => value >= 0 && value < 1))
  t.ok(new Set(drawn).size > 90)
  t.equal(fraction({ bytes: () => Uint8Array.of(0, 0, 0, 0x80) }), 0.5)
  t.equal(fraction({ bytes: () => Uint8Array.of(255, 255, 255, 255) }), 1 - 2 ** -32)
})
