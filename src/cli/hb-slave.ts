#!/usr/bin/env node
// hb-slave(8): a slave's server in the foreground.
import { guardSignals } from '../platform/node-signals.ts'

guardSignals()
const [{ ShipperServer }, { SlaveServer }, { runServer }] = await Promise.all([
  import('../server/shipper-server.ts'),
  import('../server/slave-server.ts'),
  import('./foreground.ts'),
])

await runServer(
  'hb-slave',
  'Take the log of a master and apply it, in the foreground, until SIGTERM or SIGINT.',
  (...args) => SlaveServer.start(...args),
  (...args) => ShipperServer.start(...args),
)
