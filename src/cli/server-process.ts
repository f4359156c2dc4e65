#!/usr/bin/env node
// A server's resident part, as "hb start" and "hb run" start it: what a master or a slave owns, whichever this server
// is at the time.
import { guardSignals } from '../platform/node-signals.ts'

guardSignals()
const [{ residentServer }, { runServer }] = await Promise.all([
  import('../server/resident.ts'),
  import('./foreground.ts'),
])

const start = residentServer()
await runServer(
  'hb-server',
  'Own the log and the database of a server, in the foreground, until SIGTERM or SIGINT.',
  start,
  start,
  'the server',
)
