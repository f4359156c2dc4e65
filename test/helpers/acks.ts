// Acks as a shipper in this process writes them, and locks that say that it is alive.
import type { Locks } from '../../src/platform/locks.ts'
import { nodeProcesses } from '../../src/platform/node-processes.ts'
import type { SlaveAck } from '../../src/ship/ack-file.ts'
import { shipperIdOf } from '../../src/ship/confirmed.ts'

/** Confirmed, with what the test leaves out. */
export function ackWith(positions: Partial<SlaveAck>): SlaveAck {
  return {
    receivedTxn: 0,
    durableTxn: 0,
    durableChain: 1,
    appliedTxn: 0,
    appliedTime: 0,
    time: 1,
    serverId: new Uint8Array(16).fill(2),
    databaseId: new Uint8Array(16).fill(0xdb),
    shipperId: shipperIdOf(nodeProcesses.self()),
    confirmed: true,
    ...positions,
  }
}

/** The slave holds everything up to there. */
export function ackAt(txn: number, more: Partial<SlaveAck> = {}): SlaveAck {
  return ackWith({ receivedTxn: txn, durableTxn: txn, appliedTxn: txn, ...more })
}

/** Every lock is held by this process as long as `alive`. */
export class HeldLocks implements Locks {
  alive = true

  acquire(): Promise<never> {
    throw new TypeError('nothing is locked here')
  }

  holder() {
    const identity = nodeProcesses.self()
    return Promise.resolve({ identity, purpose: 'shipper', alive: this.alive, elsewhere: false })
  }
}
