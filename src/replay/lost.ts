// What "hb lost" does with lost-found of a server, running or not.
import type { Platform } from '../platform/platform.ts'
import { findLost, listLost, readLost, removeLost, type LostEntry } from '../slave/lost-found.ts'
import { loadConfig } from '../config/config.ts'
import { layoutOf } from '../config/layout.ts'

/** Oldest first. Throws ERR_NOT_A_SERVER, ERR_LOST_CORRUPT. */
export async function lostTransactions(
  platform: Platform,
  directory: string,
): Promise<LostEntry[]> {
  const layout = layoutOf(directory)
  await loadConfig(platform.disk, layout)
  return listLost(platform.disk, layout.lostAndFound)
}

/** `typed`: an id, or the number of a transaction. Throws ERR_NO_LOST, ERR_USAGE, ERR_LOST_CORRUPT. */
export async function lostTransaction(
  platform: Platform,
  directory: string,
  typed: string,
): Promise<{ readonly entry: LostEntry; readonly records: Buffer }> {
  const layout = layoutOf(directory)
  await loadConfig(platform.disk, layout)
  const { disk } = platform
  return readLost(disk, layout.lostAndFound, await findLost(disk, layout.lostAndFound, typed))
}

/** Removes them for good; all of them must be there. Throws ERR_NO_LOST, ERR_USAGE. */
export async function discardLost(
  { disk }: Platform,
  directory: string,
  typed: readonly string[],
): Promise<string[]> {
  const layout = layoutOf(directory)
  await loadConfig(disk, layout)
  const ids = await Promise.all(typed.map(word => findLost(disk, layout.lostAndFound, word)))
  for (const id of ids) await removeLost(disk, layout.lostAndFound, id)
  return ids
}
