// The port to locks: one owner for a directory. A dead holder delays the next one as little as its death can be
// proven, and a live one never loses its lock to another process.
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
  /** False when the holder is provably dead, or cannot be seen from here and has a stale heartbeat. */
  readonly alive: boolean
  /** Its pid means nothing here: it runs on another machine or in another container. */
  readonly elsewhere: boolean
}

export interface Locks {
  /**
   * Takes the lock at `path` (absolute; its directory is made) for this process. Throws ERR_RUNNING, naming the
   * holder. A holder that cannot be seen from here is watched for up to 10 s: without a heartbeat it has died.
   * `onLost` comes at most once, with ERR_LOCK_LOST: another process may be the owner, so write nothing more.
   */
  acquire(path: string, purpose: string, onLost: (error: HotBackupError) => void): Promise<Lock>
  /** The holder of the lock at `path`; null without one. Takes and changes nothing. Throws ERR_DISK. */
  holder(path: string): Promise<LockHolder | null>
}
