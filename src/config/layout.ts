// Where everything lies in a server's directory. Nobody else puts such a path together.
//
//   hb.toml            the configuration, written by "hb setup", edited by hand
//   hb.key             the key that the servers of one database share
//   role               whether this server is the master or a slave, and what it has learned in failovers (role.ts)
//   server.id          16 random bytes in hexadecimal: this server among all others
//   upstream           the identities and the timeline of the servers above a slave, as it has last heard of them
//   log/               the transaction log: segments and log/durable
//   database/          accounts, files and items
//   slaves/NAME.ack    how far each slave is
//   lost-found/        transactions that could not be applied
//   helpers/           what helpers are building
//   messages.log       what the server in the background has to say
//   promotion          how this server became a master, while it is one (promotion.ts)
//   fenced             another server is the master now (fence.ts)
//   rejoin             how this server becomes a slave, while that is under way (rejoin.ts)
//   missing-updates/   what an old master had and the new one did not (missing-updates.ts)
//   seed/              a copy of the database that is on its way: on a slave it comes in, on a master it goes out
//   apply-updates      "on" or "off" since "hb apply" was used; goes before hb.toml
//   verify             on a master: where verification stands (continuous-verification.ts)
//   differences        on a slave: its known differences from the master
//   run/               locks, sockets, and the output of the server in the background
//   run/owner          lock of the process that owns the log and the database
//   run/shipper        lock of the process that sends the log to the slaves
//   run/supervisor     lock of the process that keeps the two before running (supervisor.ts)
//   run/died           one of those has died since "hb start" has last looked
//   run/pause          lock of a command that has their work stand still
//   run/resp.sock      where the server listens to clients of the Redis protocol
//   run/stand-in/      an empty database in the place of a damaged one, while a slave waits for a copy
import path from 'node:path'
import type { AckSource } from '../ship/confirmed.ts'

export interface Layout {
  readonly directory: string
  readonly config: string
  readonly key: string
  readonly role: string
  readonly serverId: string
  readonly upstream: string
  readonly log: string
  readonly database: string
  readonly slaves: string
  readonly lostAndFound: string
  readonly seed: string
  readonly helpers: string
  readonly messages: string
  readonly applySwitch: string
  readonly promotion: string
  readonly fenced: string
  readonly rejoin: string
  readonly missingUpdates: string
  readonly verify: string
  readonly differences: string
  readonly run: string
  readonly ownerLock: string
  readonly ownerSocket: string
  readonly ownerOutput: string
  readonly shipperLock: string
  readonly shipperSocket: string
  readonly shipperOutput: string
  readonly supervisorLock: string
  readonly supervisorOutput: string
  readonly pauseLock: string
  readonly diedMark: string
  readonly respSocket: string
  readonly standIn: string
}

/** The paths in the server's directory, which becomes absolute. */
export function layoutOf(directory: string): Layout {
  const root = path.resolve(directory)
  const at = (...names: string[]) => path.join(root, ...names)
  return {
    directory: root,
    config: at('hb.toml'),
    key: at('hb.key'),
    role: at('role'),
    serverId: at('server.id'),
    upstream: at('upstream'),
    log: at('log'),
    database: at('database'),
    slaves: at('slaves'),
    lostAndFound: at('lost-found'),
    seed: at('seed'),
    helpers: at('helpers'),
    messages: at('messages.log'),
    applySwitch: at('apply-updates'),
    promotion: at('promotion'),
    fenced: at('fenced'),
    rejoin: at('rejoin'),
    missingUpdates: at('missing-updates'),
    verify: at('verify'),
    differences: at('differences'),
    run: at('run'),
    ownerLock: at('run', 'owner'),
    ownerSocket: at('run', 'owner.sock'),
    ownerOutput: at('run', 'owner.out'),
    shipperLock: at('run', 'shipper'),
    shipperSocket: at('run', 'shipper.sock'),
    shipperOutput: at('run', 'shipper.out'),
    supervisorLock: at('run', 'supervisor'),
    supervisorOutput: at('run', 'supervisor.out'),
    diedMark: at('run', 'died'),
    pauseLock: at('run', 'pause'),
    respSocket: at('run', 'resp.sock'),
    standIn: at('run', 'stand-in'),
  }
}

/** A slave that ships to further slaves does so in the process that owns it. */
export function ackSourceOf(layout: Layout, type: 'master' | 'slave'): AckSource {
  const lock = type === 'master' ? layout.shipperLock : layout.ownerLock
  return { directory: layout.slaves, lock }
}
