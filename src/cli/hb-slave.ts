#!/usr/bin/env node
// hb-slave(8): a slave's server in the foreground.
import { ShipperServer } from '../server/shipper-server.ts'
import { SlaveServer } from '../server/slave-server.ts'
import { runServer } from './foreground.ts'

await runServer(
  'hb-slave',
  'Take the log of a master and apply it, in the foreground, until SIGTERM or SIGINT.',
  (...args) => SlaveServer.start(...args),
  (...args) => ShipperServer.start(...args),
)
