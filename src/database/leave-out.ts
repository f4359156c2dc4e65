// Takes the files that are not replicated out of a copy of a master's database, before a slave is made of it. Their
// numbers and names stay, as on a slave that has followed the log from the beginning.
import { join } from 'node:path'
import { isReplicated } from '../log/file-flags.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { catalogBytesMax, decodeCatalog, encodeCatalog } from './catalog.ts'
import { catalogName } from './checkpoint.ts'
import { Database } from './database.ts'
import { catalogDataFiles } from './recover.ts'

const cacheBytes = 1024 * 1024

/**
 * `directory` holds database/, which no process has open. A journal in it is finished first. Throws ERR_DISK,
 * ERR_DATABASE_CORRUPT.
 */
export async function leaveOutLocal(
  platform: { readonly disk: Disk; readonly clock: Clock },
  directory: string,
): Promise<void> {
  const { disk } = platform
  await (await Database.open(platform, directory, { cacheBytes })).close()
  const path = join(directory, 'database')
  const file = join(path, catalogName)
  const bytes = await readState(disk, file, catalogBytesMax)
  if (bytes === null) return
  const catalog = decodeCatalog(bytes, file)
  const left = catalog.files.filter(({ flags, absent }) => !isReplicated(flags) && !absent)
  if (left.length === 0) return
  const files = catalog.files.flatMap(entry => {
    if (!left.includes(entry)) return [entry]
    // What was held for such a file goes, too.
    if (entry.role !== 'file') return []
    const counts = {
      itemCount: 0,
      itemBytes: 0,
      counted: true,
      freeHead: 0,
      diskFrames: 0,
      sumsPlaces: [],
    }
    return [{ ...entry, ...counts, modulo: 1, frameCount: 1, absent: true, hold: null }]
  })
  const gone = new Set(left.map(({ fileNumber }) => fileNumber))
  const damaged = catalog.damaged.filter(({ fileNumber }) => !gone.has(fileNumber))
  await writeFileAtomic(disk, file, encodeCatalog({ ...catalog, files, damaged }))
  for (const { name, file: entry } of catalogDataFiles(catalog)) {
    if (left.includes(entry)) await disk.remove(join(path, name))
  }
  await disk.syncDirectory(path)
}
