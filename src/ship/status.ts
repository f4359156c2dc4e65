// What "hb status" shows of a slave on the master's side.
import type { HotBackupError } from '../errors.ts'
import type { DurableMark } from '../log/durable.ts'
import { addressText, type Address } from '../platform/network.ts'
import type { Applying } from '../wire/messages/ack.ts'
import type { StatusWord } from '../wire/status-words.ts'
import type { SlaveAck } from './ack-file.ts'
import { secondsSince } from './lag.ts'
import type { RunStream } from './run-stream.ts'
import { statusWord, type SessionState } from './session.ts'

/** How far the copy of the database is that the slave is given. */
export interface SeedStatus {
  readonly step: 'asking' | 'copying' | 'sending' | 'checking'
  readonly bytes: number
  readonly totalBytes: number
}

/** What a slave acknowledged last. A slave that reports that it holds less lowers it. */
export interface LastKnown {
  readonly receivedTxn: number
  readonly durableTxn: number
  readonly appliedTxn: number
  /** When it was acknowledged, wall-clock milliseconds. */
  readonly time: number
}

export interface ShipStatus {
  readonly name: string
  /** HOST:PORT */
  readonly address: string
  readonly state: StatusWord
  /** The last transaction that was sent, or is being sent. */
  readonly sentTxn: number
  /** The slave confirms them over the connection that is open; null when it does not. */
  readonly receivedTxn: number | null
  readonly durableTxn: number | null
  readonly appliedTxn: number | null
  /** The slave's last word, confirmed or not; null when it was never heard. */
  readonly lastKnown: LastKnown | null
  /** Whether the slave applies what it stores; null when it does not say so over the connection that is open. */
  readonly applying: Applying | null
  /** Transactions that are durable here and, by the slave's last word, not applied there. */
  readonly lagTxns: number
  /** Age of the oldest update that the slave has not applied; null when that cannot be known. */
  readonly lagSeconds: number | null
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
  readonly applying: Applying | null
  readonly lastError: HotBackupError | null
  /** Wall-clock milliseconds. */
  readonly now: number
}

export type SlavePositions = Pick<
  ShipStatus,
  'receivedTxn' | 'durableTxn' | 'appliedTxn' | 'lastKnown' | 'lagTxns'
>

/** `confirmed`: see confirmed.ts. `durableHere`: the last durable transaction of this log. */
export function positionsOf(
  ack: SlaveAck | null,
  confirmed: boolean,
  durableHere: number,
): SlavePositions {
  if (ack === null) {
    const nothing = { receivedTxn: null, durableTxn: null, appliedTxn: null, lastKnown: null }
    return { ...nothing, lagTxns: durableHere }
  }
  const { receivedTxn, durableTxn, appliedTxn, time } = ack
  return {
    receivedTxn: confirmed ? receivedTxn : null,
    durableTxn: confirmed ? durableTxn : null,
    appliedTxn: confirmed ? appliedTxn : null,
    lastKnown: { receivedTxn, durableTxn, appliedTxn, time },
    lagTxns: Math.max(0, durableHere - appliedTxn),
  }
}

export function shipStatus(from: StatusSources): ShipStatus {
  const { slave, ack, mark, stream, lastError } = from
  const durableHere = mark?.txn ?? 0
  const sentTxn = stream?.sentTxn ?? 0
  const positions = positionsOf(ack, ack?.confirmed ?? false, durableHere)
  const activity = {
    writing: from.pendingBytes > 0,
    unacknowledged: (positions.durableTxn ?? 0) < sentTxn,
    unsent: sentTxn < durableHere,
  }
  return {
    name: slave.name,
    address: addressText(slave.address),
    state: statusWord(from.state, activity, { reached: ack !== null, lastError }),
    sentTxn: stream?.sentTxn ?? ack?.receivedTxn ?? 0,
    ...positions,
    applying: from.applying,
    lagSeconds: positions.lagTxns === 0 ? 0 : secondsSinceOldest(from),
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
function secondsSinceOldest({ stream, ack, now }: StatusSources): number | null {
  const oldest = stream?.oldestTime ?? ack?.appliedTime ?? 0
  return oldest > 0 ? secondsSince(oldest, now) : null
}
