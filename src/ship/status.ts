// What "hb status" shows of a slave on the master's side.
import type { HotBackupError } from '../errors.ts'
import type { DurableMark } from '../log/durable.ts'
import type { Address } from '../platform/network.ts'
import type { SlaveAck } from './ack-file.ts'
import { secondsSince } from './lag.ts'
import type { RunStream } from './run-stream.ts'
import { statusWord, type SessionState, type ShipStatusWord } from './session.ts'

/** How far the copy of the database is that the slave is given. */
export interface SeedStatus {
  readonly step: 'asking' | 'copying' | 'sending' | 'checking'
  readonly bytes: number
  readonly totalBytes: number
}

export interface ShipStatus {
  readonly name: string
  /** HOST:PORT */
  readonly address: string
  readonly state: ShipStatusWord
  /** The last transaction that was sent, or is being sent. */
  readonly sentTxn: number
  readonly receivedTxn: number
  readonly durableTxn: number
  readonly appliedTxn: number
  /** Transactions that are durable here and not applied there. */
  readonly lagTxns: number
  /** Age of the oldest update that the slave has not applied. */
  readonly lagSeconds: number
  /** Why the link does not work; null once the slave takes updates again. */
  readonly lastError: {
    readonly code: string
    readonly message: string
    readonly hint: string
  } | null
  /** Since this process started. */
  readonly bytesSent: number
  /** Sent, and not acknowledged as received. */
  readonly bytesInFlight: number
  /** From the last PING to its PONG; null before the first of this connection. */
  readonly roundTripMs: number | null
  /** Since the slave was heard last; null when nothing streams to it. */
  readonly heardMs: number | null
  /** Null, or not there, when the slave is not being given a copy. */
  readonly seed?: SeedStatus | null
}

export interface StatusSources {
  readonly slave: { readonly name: string; readonly address: Address }
  readonly state: SessionState
  readonly ack: SlaveAck | null
  readonly mark: DurableMark | null
  readonly stream: Pick<RunStream, 'sentTxn' | 'bytesInFlight' | 'oldestTime'> | null
  readonly pendingBytes: number
  readonly bytesSent: number
  readonly roundTripMs: number | null
  readonly heardMs: number | null
  readonly lastError: HotBackupError | null
  /** Wall-clock milliseconds. */
  readonly now: number
}

export function shipStatus(from: StatusSources): ShipStatus {
  const { slave, ack, mark, stream, lastError } = from
  const durableHere = mark?.txn ?? 0
  const sentTxn = stream?.sentTxn ?? 0
  const durableTxn = ack?.durableTxn ?? 0
  const appliedTxn = ack?.appliedTxn ?? 0
  const lagTxns = Math.max(0, durableHere - appliedTxn)
  return {
    name: slave.name,
    address: `${slave.address.host}:${slave.address.port}`,
    state: statusWord(from.state, {
      writing: from.pendingBytes > 0,
      unacknowledged: durableTxn < sentTxn,
      unsent: sentTxn < durableHere,
    }),
    sentTxn: stream?.sentTxn ?? ack?.receivedTxn ?? 0,
    receivedTxn: ack?.receivedTxn ?? 0,
    durableTxn,
    appliedTxn,
    lagTxns,
    lagSeconds: lagTxns === 0 ? 0 : secondsSince(oldestTime(from), from.now),
    lastError:
      lastError === null
        ? null
        : { code: lastError.code, message: lastError.message, hint: lastError.hint },
    bytesSent: from.bytesSent,
    bytesInFlight: stream?.bytesInFlight ?? 0,
    roundTripMs: from.roundTripMs,
    heardMs: from.heardMs,
  }
}

/** Of updates that were not sent yet only this is known: they are not older than the one applied last. */
function oldestTime({ stream, ack, mark, now }: StatusSources): number {
  const sent = stream?.oldestTime ?? null
  if (sent !== null) return sent
  const applied = ack?.appliedTime ?? 0
  return applied > 0 ? applied : (mark?.time ?? now)
}
