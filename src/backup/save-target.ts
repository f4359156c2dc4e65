// Where a save may go: not into the directory of a server, whose log and database a copy of its master's replaces, and
// not into another save. Symbolic links are followed, those of the server's own directories as well.
import path from 'node:path'
import { catalogName } from '../database/checkpoint.ts'
import { HotBackupError } from '../errors.ts'
import { segmentFiles } from '../log/segments.ts'
import type { Disk } from '../platform/disk.ts'
import type { Layout } from '../config/layout.ts'

/** Any of them makes a directory a server, or what is to be one, or a save. */
const markers = ['hb.toml', 'hb.toml.restoring', 'hb.toml.saved', catalogName]

/** Throws ERR_UNSAFE for a target inside the directory of `layout`'s server, or of any other. */
export async function checkSaveTarget(disk: Disk, layout: Layout, target: string): Promise<void> {
  const refuse = (holder: string) => {
    const message = `${target} lies in ${holder}, which belongs to a server or a save: name another place with --to`
    throw new HotBackupError('ERR_UNSAFE', message, { path: target })
  }
  const real = await disk.realPath(target)
  const own = [layout.directory, layout.database, layout.log, layout.seed, layout.slaves]
  for (const directory of own) {
    const held = await disk.realPath(directory)
    if (real === held || real.startsWith(held + path.sep)) refuse(directory)
  }
  for (let holder = path.dirname(real); ; holder = path.dirname(holder)) {
    for (const name of markers) if (await disk.exists(path.join(holder, name))) refuse(holder)
    // A directory may be passed through and not be listed.
    const segments = await segmentFiles(disk, holder).catch(() => [])
    if (segments.length > 0) refuse(holder)
    if (holder === path.dirname(holder)) return
  }
}
