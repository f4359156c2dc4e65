// A helper: a process of its own that carries out one order, at low priority, and ends with the server that has
// started it.
import { guardSignals } from '../platform/node-signals.ts'

guardSignals()
const [{ nodePlatform }, { parseOrder }, { doWork }] = await Promise.all([
  import('../platform/node-platform.ts'),
  import('../helpers/messages.ts'),
  import('../helpers/work.ts'),
])

const { processes } = nodePlatform
processes.yieldToOthers()
processes.onParentGone(() => process.exit(1))
await doWork(nodePlatform, parseOrder(process.argv[2] ?? ''), answer => {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
})
// Its input is open as long as the server lives; what it has said has been written: a pipe is written at once.
process.exit(0)
