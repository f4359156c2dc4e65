// The port to locks: one owner for a directory. A dead holder makes nobody wait, and a live one is never robbed.
import { type HotBackupError } from '../errors.ts'
import { type ProcessIdentity } from './processes.ts'

export interface Lock {
  /** Lets go. It is no error when the lock was lost, or released before. Throws ERR_DISK. */
  release(): Promise<void>
}

export interface LockHolder {
  readonly identity: ProcessIdentity
  /** What the holder does, for messages: "master", "shipper" … */
  readonly purpose: string
  /** False when the holder is provably dead, or is on another host and has a stale heartbeat. */
  readonly alive: boolean
}

export interface Locks {
  /**
   * Takes the lock at `path` (absolute; its directory is made) for this process. Throws ERR_RUNNING, naming the
   * holder. `onLost` comes at most once, with ERR_LOCK_LOST: somebody else may be the owner already, so write
   * nothing more.
   */
  acquire(path: string, purpose: string, onLost: (error: HotBackupError) => void): Promise<Lock>
  /** Who holds the lock at `path`; null when nobody does. Takes and changes nothing. Throws ERR_DISK. */
  holder(path: string): Promise<LockHolder | null>
}
