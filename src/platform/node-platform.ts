// The real platform: every port by Node.
import { nodeClock } from './node-clock.ts'
import { nodeDisk } from './node-disk.ts'
import { nodeLocalSockets } from './node-local-socket.ts'
import { nodeLocks } from './node-locks.ts'
import { nodeNetwork } from './node-network.ts'
import { nodeProcesses } from './node-processes.ts'
import { nodeRandom } from './node-random.ts'
import { nodeWatcher } from './node-watch.ts'
import { type Platform } from './platform.ts'

export const nodePlatform: Platform = {
  disk: nodeDisk,
  network: nodeNetwork,
  clock: nodeClock,
  random: nodeRandom,
  processes: nodeProcesses,
  watcher: nodeWatcher,
  locks: nodeLocks,
  localSockets: nodeLocalSockets,
}
