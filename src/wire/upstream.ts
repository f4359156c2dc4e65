// What a slave has heard of the servers above it. It is kept across restarts, because a slave that hands on updates
// before its master has called again must not pass for the top of a cascade, and because a promotion begins a timeline
// later than all that are known. The log alone does not know that of a master from which nothing has come yet.
export interface Upstream {
  /** Their ids, its master last. */
  readonly servers: readonly Uint8Array[]
  /** The latest that any master has named; 0 for none. */
  readonly timeline: number
}
