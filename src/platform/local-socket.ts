// The port to sockets within one machine, by which commands reach the process that owns a server. Only the
// user who owns the socket may connect: there is no other authentication.
import { type Connection, type Listener } from './network.ts'

export interface LocalListener extends Pick<Listener, 'close'> {
  /** Whether `path` still leads to this listener: a socket can be removed or replaced. Throws ERR_DISK. */
  isThere(): Promise<boolean>
}

export interface LocalSockets {
  /**
   * Listens at `path`, readable and writable by this user alone. Replaces a socket that is there already: the
   * caller holds the lock that says that nobody else listens. Throws ERR_DISK.
   */
  listen(path: string, accept: (connection: Connection) => void): Promise<LocalListener>
  /** Null when no process listens there. Throws ERR_DISK when the socket may not be used. */
  connect(path: string): Promise<Connection | null>
}
