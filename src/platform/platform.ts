// All ports in one bundle. A server gets it once, at the door, and hands on what each part needs.
import type { Clock } from './clock.ts'
import type { Disk } from './disk.ts'
import type { LocalSockets } from './local-socket.ts'
import type { Locks } from './locks.ts'
import type { Network } from './network.ts'
import type { Processes } from './processes.ts'
import type { Random } from './random.ts'
import type { Watcher } from './watch.ts'

export interface Platform {
  readonly disk: Disk
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly processes: Processes
  readonly watcher: Watcher
  readonly locks: Locks
  readonly localSockets: LocalSockets
}
