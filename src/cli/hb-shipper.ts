#!/usr/bin/env node
// hb-shipper(8): a master's shipper in the foreground.
import { guardSignals } from '../platform/node-signals.ts'

guardSignals()
const [{ ShipperServer }, { runServer }] = await Promise.all([
  import('../server/shipper-server.ts'),
  import('./foreground.ts'),
])

await runServer(
  'hb-shipper',
  "Send a master's log to its slaves, in the foreground, until SIGTERM or SIGINT.",
  (...args) => ShipperServer.start(...args),
)
