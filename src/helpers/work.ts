// One helper's work: carries out an order and says how far it is. Needs nothing of the server but the files.
import { buildGeneration } from '../database/build.ts'
import { isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { restful, type Clock } from '../platform/clock.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import type { HelperAnswer, HelperOrder } from './messages.ts'

/** Progress is said this often, and so is that the helper lives. */
const sayMs = 500
/** A large file gives its room back in such pieces, each synced, so that nobody's sync waits for all of it. */
const removedBytes = 16 * MiB

type WorkPlatform = { readonly disk: Disk; readonly clock: Clock }

/** The last thing that it says is the result. */
export async function doWork(
  platform: WorkPlatform,
  order: HelperOrder,
  say: (answer: HelperAnswer) => void,
): Promise<void> {
  const { clock } = platform
  let said = -Infinity
  const report = (progress: number) => {
    if (clock.monotonic() - said < sayMs) return
    said = clock.monotonic()
    say({ type: 'progress', progress })
  }
  report(0)
  try {
    if (order.kind === 'remove') {
      await removeSlowly(platform, order.path, report)
      say({ type: 'removed' })
    } else {
      const { path, state } = await buildGeneration(platform, order, report)
      say({ type: 'built', path, state: { ...state } })
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    say({ type: 'failed', message, damaged: isHotBackupError(error, 'ERR_DATABASE_CORRUPT') })
  }
}

async function removeSlowly(
  { disk, clock }: WorkPlatform,
  path: string,
  report: (progress: number) => void,
): Promise<void> {
  try {
    const file = await disk.open(path, 'write')
    try {
      const size = file.size()
      for (let left = size - removedBytes; left > 0; left -= removedBytes) {
        report(1 - left / size)
        await restful(clock, async () => {
          await file.truncate(left)
          await file.sync()
        })
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
  await disk.remove(path)
}
