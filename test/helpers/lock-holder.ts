// A process that takes a lock, says on standard output whether it got it ("held", or the error's code), and
// keeps it until its standard input ends. Argument: the lock's path.
import { isHotBackupError } from '../../src/errors.ts'
import { acquireLock } from '../../src/platform/node-locks.ts'
import { nodeProcesses } from '../../src/platform/node-processes.ts'

const path = process.argv[2] ?? ''
const say = (line: string) => process.stdout.write(`${line}\n`)
try {
  const lock = await acquireLock(path, nodeProcesses.self(), nodeProcesses, 'test-holder', error =>
    say(error.code),
  )
  say('held')
  process.stdin.resume().on('end', () => void lock.release())
} catch (error) {
  say(isHotBackupError(error) ? error.code : String(error))
}
