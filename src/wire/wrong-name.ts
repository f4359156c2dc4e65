// A master names the slave that it calls. A server of another name is another slave, or the names in the two hb.toml
// differ: its acks would count for the slave that is named, and a copy for that one would take the place of its data.

/** What is wrong, for people; null when the names agree. */
export function wrongName(master: string, called: string, own: string): string | null {
  if (called === own) return null
  return `"${master}" calls this server "${called}", and its name is "${own}"`
}
