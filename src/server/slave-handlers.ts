// What a slave's server offers on its control socket.
import { copyHandlers } from '../backup/copy-session.ts'
import { seedHandler } from '../backup/seeder.ts'
import type { ReloadReport } from '../config/live-config.ts'
import type { Handler } from '../control/handler.ts'
import { handler, refused } from '../control/operation.ts'
import { reloadOperation } from '../control/reload-server.ts'
import type { SlaveStatus } from '../control/server-status.ts'
import { status } from '../control/status-operation.ts'
import { readHandlers } from '../data/data-handlers.ts'
import { updateOperations } from '../data/data-operations.ts'
import type { Database } from '../database/database.ts'
import { failoverOperations, type PromoteReport } from '../failover/failover-operations.ts'
import type { Clock } from '../platform/clock.ts'
import { frameHandler } from '../repair/group-handlers.ts'
import { repairOperations, verifyOperations } from '../repair/repair-operations.ts'
import type { SlaveRepair } from '../repair/slave-repair.ts'
import type { ApplySwitch } from '../replay/apply-switch.ts'
import type { ManualReplays } from '../replay/manual-replays.ts'
import { replayOperations } from '../replay/replay-operations.ts'
import { statisticsHandler } from '../report/statistics.ts'
import type { Receiver } from '../slave/receiver.ts'
import type { Replayer } from '../slave/replayer.ts'
import type { Retention } from '../updates/retention.ts'
import type { SlaveShipping } from './slave-shipping.ts'

export interface SlaveServices {
  readonly database: Database
  readonly clock: Clock
  readonly retention: Retention
  readonly replayer: Replayer
  readonly applySwitch: ApplySwitch
  readonly replays: ManualReplays
  readonly receiver: Receiver
  readonly shipping: SlaveShipping
  readonly repair: SlaveRepair
  readonly status: () => SlaveStatus
  readonly promote: () => Promise<PromoteReport>
  readonly tryPromotion: () => Promise<void>
  readonly reload: () => Promise<ReloadReport>
}

const mastersOperations = [
  ...Object.values(updateOperations),
  ...Object.values(verifyOperations),
  repairOperations.repairGroup,
]

export function slaveHandlers(services: SlaveServices): Handler[] {
  const { database, clock, retention, replayer, applySwitch, receiver, shipping } = services
  const hold = () => replayer.hold()
  const checkpoint = async () => (await hold())()
  return [
    handler(status, async () => ({ slave: services.status() })),
    // Only what is durable is applied, so whatever a reader sees is.
    ...readHandlers({ database, clock, settled: () => Promise.resolve() }),
    frameHandler({ database, clock, checkpoint }),
    handler(replayOperations.applyUpdates, async ({ on }) => {
      await applySwitch.turn(on)
      return {}
    }),
    services.replays.handler,
    handler(failoverOperations.promote, services.promote),
    handler(failoverOperations.tryPromote, async () => {
      await services.tryPromotion()
      return {}
    }),
    statisticsHandler(receiver, () => shipping.shipper),
    handler(repairOperations.repair, async () => ({ repaired: await services.repair.repair() })),
    seedHandler(slave => shipping.seed(slave)),
    handler(reloadOperation, services.reload),
    ...copyHandlers({ database, retention, hold }),
    ...mastersOperations.map(refused),
  ]
}
