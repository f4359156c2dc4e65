// Flags of a file in the log and the catalog: whether slaves hold it, and all of it.

/** Why a file is not replicated, or not as a whole yet. */
export const fileFlags = {
  /** Its creator wants it on the master alone. */
  local: 1,
  /** The master's hb.toml leaves it out. */
  excluded: 2,
  /** It has become replicated, and the master is writing its items into the log. */
  filling: 4,
} as const
export type FlagWord = keyof typeof fileFlags
export const fileFlagsMax = 7

/** The flags by name, as "hb log dump" shows them. */
export function flagWords(flags: number): FlagWord[] {
  const words = Object.keys(fileFlags) as FlagWord[]
  return words.filter(word => (flags & fileFlags[word]) !== 0)
}

/** Slaves hold the file. */
export function isReplicated(flags: number): boolean {
  return (flags & (fileFlags.local | fileFlags.excluded)) === 0
}

/** Slaves hold all of it: of a file that is being filled they have a part. */
export function isOnSlaves(flags: number): boolean {
  return flags === 0
}
