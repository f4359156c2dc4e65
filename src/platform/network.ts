// The port to the network: streams of bytes between servers. Encryption is part of it: with a key, a
// connection that has been handed over is authenticated on both sides and encrypted.

/** HOST:PORT, parsed. */
export interface Address {
  /** A name, an IPv4 address, or an IPv6 address without brackets; "*" to listen at all addresses of both kinds. */
  readonly host: string
  readonly port: number
}

/** As it is written and read again: an IPv6 address stands in brackets. */
export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** The pre-shared key of the servers of one database (32 random bytes; see hb.toml(5), key). */
export interface SharedKey {
  readonly bytes: Uint8Array
}

/** What a connection tells its owner. `closed` comes exactly once, last. */
export interface ConnectionEvents {
  /** The bytes are the receiver's own until it returns; what it keeps, it copies. */
  data(bytes: Buffer): void
  /** The output buffer is empty again after `write` returned false. */
  drained(): void
  closed(error: Error | null): void
}

export interface Connection {
  readonly remoteAddress: string
  /** Sets who hears of it. Nothing is delivered before. */
  listen(events: ConnectionEvents): void
  /**
   * Queues the bytes. Returns false when the output buffer is above its mark: wait for `drained`.
   * The caller must not change the bytes until `drained` or `closed`, or until it hears from the peer that they came.
   */
  write(bytes: Uint8Array): boolean
  /** Bytes queued and not yet given to the system. */
  readonly pendingBytes: number
  /** Stops reading from the socket, so that the peer is slowed down. */
  pause(): void
  resume(): void
  /** Closes after what was queued has been sent. */
  end(): void
  /** Closes at once. */
  destroy(error?: Error): void
}

export interface Listener {
  readonly address: Address
  close(): Promise<void>
}

export interface ListenOptions {
  readonly timeoutMs: number
  readonly connectionsMax: number
  readonly wrongKey?: (remoteAddress: string) => void
}

export interface Network {
  /** Resolves when the connection is ready to use (with a key: when both sides are authenticated). */
  connect(address: Address, key: SharedKey | null, timeoutMs: number): Promise<Connection>
  /**
   * With a key, `accept` sees authenticated peers only; without one, peers that have sent something. Others are dropped
   * after `timeoutMs`, or earlier when too many wait. `wrongKey` hears of a peer that speaks to a
   * server like this one and has another key.
   */
  listen(
    address: Address,
    key: SharedKey | null,
    accept: (connection: Connection) => void,
    options: ListenOptions,
  ): Promise<Listener>
  /**
   * For the clients of one machine: hands over every connection at once, in the clear. `accept` bounds their number.
   * Throws ERR_LISTEN.
   */
  listenPlain(address: Address, accept: (connection: Connection) => void): Promise<Listener>
}
