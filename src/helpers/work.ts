// One helper's work: carries out an order and says how far it is. Needs nothing of the server but the files.
import { join } from 'node:path'
import { buildGeneration } from '../database/build.ts'
import { catalogBytesMax, decodeCatalog } from '../database/catalog.ts'
import { catalogName } from '../database/checkpoint.ts'
import type { SumsPlace } from '../database/frame-sums.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { readState } from '../platform/atomic-file.ts'
import { restful, type Clock } from '../platform/clock.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import type { HelperAnswer, HelperOrder } from './messages.ts'

/** Progress is said this often, and so is that the helper lives. */
const sayMs = 500
/** A large file gives its room back in such pieces, each synced, so that no sync waits for all of it. */
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
      const sumsPlaces = await sourcePlaces(platform.disk, order)
      const source = { ...order.source, sumsPlaces }
      const { path, state } = await buildGeneration(platform, { ...order, source }, report)
      const { sumsPlaces: built, ...rest } = state
      say({ type: 'built', path, state: rest, sumsPages: built.length })
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    say({ type: 'failed', message, damaged: isHotBackupError(error, 'ERR_DATABASE_CORRUPT') })
  }
}

/** The source lies still, so the catalog has it as it is. */
async function sourcePlaces(
  disk: Disk,
  { source, sourceDirectory }: Extract<HelperOrder, { kind: 'build' }>,
): Promise<readonly SumsPlace[]> {
  const path = join(sourceDirectory, catalogName)
  const bytes = await readState(disk, path, catalogBytesMax)
  const files = bytes === null ? [] : decodeCatalog(bytes, path).files
  const { fileNumber, number } = source
  const entry = files.find(file => file.fileNumber === fileNumber && file.number === number)
  if (entry !== undefined) return entry.sumsPlaces
  const message = `${path} does not name generation ${number} of file ${fileNumber}`
  throw new HotBackupError('ERR_PROCESS', message, { path })
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
