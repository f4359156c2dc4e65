// Whether a slave lets a master in: the checks of HELLO, in the order of their answers' worth. Pure. The master makes
// the finer ones (own-log.ts): only it can look up the slave's position.
import { HotBackupError } from '../errors.ts'
import { sameIdentity, type LogPosition } from '../log/chain.ts'
import type { LogIdentity } from '../log/options.ts'
import type { Hello } from '../wire/messages/hello.ts'
import { positionText } from '../wire/position-text.ts'
import { wrongName } from '../wire/wrong-name.ts'

/** What the slave is and holds. */
export interface SlaveSide {
  readonly name: string
  readonly serverId: Uint8Array
  /** Of its log's last segment; null when the log has none. */
  readonly identity: LogIdentity | null
  /** Where its log ends. */
  readonly position: LogPosition
}

/** Why the master is not let in, with both positions in the text; null when it is. */
export function checkHello(hello: Hello, slave: SlaveSide): HotBackupError | null {
  const { identity, position } = slave
  const ours = `this slave holds ${positionText(position)}`
  const theirs = `"${hello.serverName}" holds ${positionText(hello.durable)}`

  if ([hello.serverId, ...hello.path].some(id => sameIdentity(id, slave.serverId))) {
    const text = `"${hello.serverName}" is fed by this very server (or has a copy of its directory)`
    return new HotBackupError('ERR_LINK_LOOP', `${text}; ${theirs}, ${ours}`)
  }
  // An old master must hear that it is over, by whatever name it knows this server.
  const sameDatabase = identity !== null && sameIdentity(hello.databaseId, identity.databaseId)
  if (sameDatabase && hello.timeline < identity.timeline) {
    const text = `${theirs} on timeline ${hello.timeline}, ${ours} on the later timeline ${identity.timeline}`
    return new HotBackupError('ERR_FENCED', text)
  }
  const otherName = wrongName(hello.serverName, hello.slaveName, slave.name)
  if (otherName !== null) {
    return new HotBackupError('ERR_LINK_NAME', `${otherName}; ${theirs}, ${ours}`)
  }
  if (identity === null) {
    if (hello.firstTxn === 1) return null
    const text = `${ours}, and the log of "${hello.serverName}" starts with transaction ${hello.firstTxn} only`
    return new HotBackupError('ERR_LINK_SEED', `${text}; ${theirs}`)
  }
  if (!sameDatabase) {
    const text = `${theirs} of database ${hexId(hello.databaseId)}, ${ours} of database ${hexId(identity.databaseId)}`
    return new HotBackupError('ERR_LINK_FOREIGN', text)
  }
  if (hello.timeline === identity.timeline && !sameIdentity(hello.lineageId, identity.lineageId)) {
    const text = `${theirs} and ${ours}, both on timeline ${identity.timeline}, of the lineages ${hexId(hello.lineageId)} and ${hexId(identity.lineageId)}`
    return new HotBackupError('ERR_LINK_DIVERGED', text)
  }
  if (hello.durable.txn < position.txn) {
    const text = `${theirs} only, ${ours}: the log of "${hello.serverName}" went back. The slave is left as it is`
    return new HotBackupError('ERR_LINK_DIVERGED', text)
  }
  return null
}

export function hexId(id: Uint8Array): string {
  return Buffer.from(id).toString('hex')
}
