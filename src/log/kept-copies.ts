// Copies of what recovery has cut off a segment (SEGMENT.torn), and of damaged segments that were repaired
// (SEGMENT.corrupt). Nobody needs them but who wants to know what happened; they go with their segment.
import { basename, dirname, join } from 'node:path'
import type { Disk } from '../platform/disk.ts'
import { parseSegmentName } from './segment.ts'

/** SEGMENT.torn or SEGMENT.corrupt, or with a number behind it: a copy is never written over. */
export async function freeCopyPath(
  disk: Disk,
  path: string,
  kind: 'torn' | 'corrupt',
): Promise<string> {
  for (let count = 0; ; count++) {
    const copyPath = count === 0 ? `${path}.${kind}` : `${path}.${kind}.${count}`
    if (!(await disk.exists(copyPath))) return copyPath
  }
}

/** The copies that belong to one segment. */
export async function keptCopies(disk: Disk, path: string): Promise<string[]> {
  const directory = dirname(path)
  const entries = await disk.list(directory)
  return entries
    .filter(({ name }) => name.startsWith(basename(path)) && isKeptCopy(name))
    .map(entry => join(directory, entry.name))
}

/** Whether a file of that name is such a copy. */
export function isKeptCopy(name: string): boolean {
  const [, segment = ''] = /^(.*)\.(?:torn|corrupt)(?:\.\d+)?$/.exec(name) ?? []
  return parseSegmentName(segment) !== null
}
