#!/usr/bin/env node
// hb-shipper(8): a master's shipper in the foreground.
import { ShipperServer } from '../server/shipper-server.ts'
import { runServer } from './foreground.ts'

await runServer(
  'hb-shipper',
  "Send a master's log to its slaves, in the foreground, until SIGTERM or SIGINT.",
  (...args) => ShipperServer.start(...args),
)
