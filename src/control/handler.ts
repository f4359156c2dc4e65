// What a process offers on its control socket: operations by their names, each checked and carried out by a handler.

/** The other end of the connection on which a request has come. */
export interface Peer {
  /** Calls back when the connection has ended, or is about to. */
  onEnd(ended: () => void): void
}

export interface Handler {
  readonly name: string
  /** Carried out also before the process knows whether it may take updates. */
  readonly early: boolean
  /** Needs a sound database. */
  readonly data: boolean
  /** Gives the parts of the answer and returns its end. Throws ERR_WIRE for a wrong request; the operation's errors. */
  run(request: object, peer: Peer): AsyncGenerator<object, object, undefined>
}
