// Who waits for which owner of a directory, and for how long.
import t from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import type { Clock } from '../../src/platform/clock.ts'
import type { Locks } from '../../src/platform/locks.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { commandPurpose, recoveryPurpose, takeOwnership } from '../../src/control/owner.ts'

/** Waits are over at once, and the clock says that they took their time. */
class HurriedClock implements Clock {
  #ms = 0
  now = () => this.#ms
  monotonic = () => this.#ms
  nextTurn(callback: () => void): void {
    setImmediate(callback)
  }
  after(delayMs: number, callback: () => void) {
    this.#ms += delayMs
    const immediate = setImmediate(callback)
    return { cancel: () => clearImmediate(immediate) }
  }
}

/** Seconds until `purpose` gets a directory that `holder` gives up after `heldSeconds`; null: it gave up. */
async function secondsToTake(
  purpose: string,
  holder: string,
  heldSeconds: number,
  pidAt = (_seconds: number) => 7,
): Promise<number | null> {
  const clock = new HurriedClock()
  const identity = () => ({
    pid: pidAt(clock.now() / 1000),
    startTicks: 1,
    bootId: 'boot',
    pidNamespace: 'here',
    machineId: 'here',
    host: 'here',
  })
  const locks: Locks = {
    async acquire() {
      if (clock.now() >= heldSeconds * 1000) return { release: async () => {} }
      throw new HotBackupError('ERR_RUNNING', 'somebody has it')
    },
    holder: async () => ({ identity: identity(), purpose: holder, alive: true, elsewhere: false }),
  }
  try {
    await takeOwnership({ clock, locks }, layoutOf('/srv'), purpose, () => {})
    return clock.now() / 1000
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
    return clock.now() === 0 ? null : -clock.now() / 1000
  }
}

t.test('who waits for which owner', async t => {
  t.equal(await secondsToTake('master', commandPurpose, 45), 45, 'an import is waited for')
  const tired = await secondsToTake('master', commandPurpose, 1000)
  t.ok(tired !== null && tired < -59 && tired > -62, `one that stays for ever is not: ${tired}`)
  t.equal(
    await secondsToTake('master', commandPurpose, 600, seconds => Math.floor(seconds)),
    600,
    'command after command',
  )
  t.equal(await secondsToTake('master', recoveryPurpose, 900), 900, 'a recovery')
  t.equal(await secondsToTake('master', 'master', 5), null, 'another application')
  t.equal(await secondsToTake('master', 'slave', 5), null, 'a slave')
  t.equal(
    await secondsToTake(commandPurpose, commandPurpose, 5),
    null,
    'a command asks the other one at its socket',
  )
  t.equal(await secondsToTake(commandPurpose, recoveryPurpose, 5), 5)
})
