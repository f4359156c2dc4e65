// Looks at a server for "hb check", which gives it only so long (check-server.ts).
import { guardSignals } from '../platform/node-signals.ts'

guardSignals()
const [{ nodePlatform }, { carryOutCheck }] = await Promise.all([
  import('../platform/node-platform.ts'),
  import('../report/check-server.ts'),
])

nodePlatform.processes.onParentGone(() => process.exit(1))
process.stdout.write(`${await carryOutCheck(nodePlatform, process.argv[2] ?? '')}\n`)
process.exit(0)
