// What a log is told when it is opened.

/**
 * When `synced()` resolves, and when the log is synced. `commit`: when durable, at once. `interval`: when written, and
 * synced at most that much later. `os`: when written, and no update asks for a sync.
 */
export type FsyncPolicy =
  | { readonly kind: 'commit' }
  | { readonly kind: 'interval'; readonly intervalMs: number }
  | { readonly kind: 'os' }

export interface LogIdentity {
  /** 16 bytes each. */
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly timeline: number
}

export interface LogOptions {
  readonly fsync: FsyncPolicy
  /** A block that reaches this size of the segment is its last one. At least 1 KiB; the configuration asks for more. */
  readonly segmentBytes: number
  /** Transactions known to have been durable from elsewhere: a log that ends before is corrupt. */
  readonly knownDurableTxn: number
  /** False on a slave: the promises in its blocks are its master's, and say nothing about this disk. */
  readonly ownPromises: boolean
}
