// The states of a link, seen from the master, and every edge between them. Pure: no sockets, no clock, no log.
//
//   unready ─start─► calling ─connected─► greeting ─welcomed─► seeking ─found─► streaming
//                       ▲                                         ▲                 │
//                       │                                         └─────rewind──────┘
//                       └──due── waiting ◄── failed or refused, from any state that has a connection or calls
//
//   stop leads from everywhere to stopped, which is final.
//
// An event that has no edge in a state is late news of something that is over; it changes nothing.

import type { HotBackupError } from '../errors.ts'
import { wordFor, type StatusWord } from '../wire/status-words.ts'

/** What went wrong with the last calls. A success that is proven by an ack forgets it. */
export interface Trouble {
  /** `refused`: one side said no in words. `failed`: everything else. */
  readonly kind: 'failed' | 'refused'
  /** In a row, of this kind. */
  readonly times: number
}

export type SessionState =
  /** The log holds nothing to ship yet. */
  | { readonly name: 'unready' }
  /** The connection is being made. */
  | { readonly name: 'calling'; readonly trouble: Trouble | null }
  /** HELLO goes out; WELCOME or REFUSE comes back. */
  | { readonly name: 'greeting'; readonly trouble: Trouble | null }
  /** The slave's position is looked up in the log. */
  | { readonly name: 'seeking'; readonly trouble: Trouble | null }
  /** START has gone out; runs go one way, acks the other. */
  | { readonly name: 'streaming'; readonly trouble: Trouble | null }
  /** No connection until the backoff is over. */
  | { readonly name: 'waiting'; readonly trouble: Trouble }
  | { readonly name: 'stopped' }
export type StateName = SessionState['name']

export type SessionEvent =
  | 'start' // the log holds something
  | 'connected'
  | 'welcomed'
  | 'found' // the slave's position, with the same chain value
  | 'proven' // an ack: the slave takes what it is sent
  | 'rewind' // the slave wants to be sent something again
  | 'failed' // no connection, or it broke, or the peer was taken for dead
  | 'refused' // by either side
  | 'due' // the backoff is over
  | 'stop'

export type SessionAction =
  | 'call' // connect
  | 'greet' // send HELLO
  | 'seek' // look up where the slave is
  | 'stream' // send START, then what follows
  | 'wait' // for the backoff of the state's trouble
  | 'hangUp' // let go of connection, reader and timer, whatever there is

type Step = readonly [SessionState, readonly SessionAction[]]

export function next(state: SessionState, event: SessionEvent): Step {
  const same: Step = [state, []]
  if (event === 'stop') {
    return state.name === 'stopped' ? same : [{ name: 'stopped' }, ['hangUp']]
  }
  switch (state.name) {
    case 'unready':
      return event === 'start' ? [{ name: 'calling', trouble: null }, ['call']] : same
    case 'calling':
      if (event === 'connected') return [{ name: 'greeting', trouble: state.trouble }, ['greet']]
      return troubled(state, event)
    case 'greeting':
      if (event === 'welcomed') return [{ name: 'seeking', trouble: state.trouble }, ['seek']]
      return troubled(state, event)
    case 'seeking':
      if (event === 'found') return [{ name: 'streaming', trouble: state.trouble }, ['stream']]
      return troubled(state, event)
    case 'streaming':
      if (event === 'rewind') return [{ name: 'seeking', trouble: state.trouble }, ['seek']]
      if (event === 'proven' && state.trouble !== null) return [{ ...state, trouble: null }, []]
      return troubled(state, event)
    case 'waiting':
      return event === 'due' ? [{ name: 'calling', trouble: state.trouble }, ['call']] : same
    case 'stopped':
      return same
    default:
      return unreachable(state)
  }
}

function troubled(state: Extract<SessionState, { trouble: unknown }>, event: SessionEvent): Step {
  if (event !== 'failed' && event !== 'refused') return [state, []]
  const before = state.trouble?.kind === event ? state.trouble.times : 0
  return [{ name: 'waiting', trouble: { kind: event, times: before + 1 } }, ['hangUp', 'wait']]
}

function unreachable(state: never): never {
  throw new TypeError(`no such state: ${JSON.stringify(state)}`)
}

/** What a stream is about; `status` shows it in D3's words. */
export interface StreamActivity {
  /** Bytes wait for the network to take them. */
  readonly writing: boolean
  /** Something sent is not durable on the slave yet. */
  readonly unacknowledged: boolean
  /** Something durable here was not sent yet. */
  readonly unsent: boolean
}

/** What else is known of the slave. */
export interface LinkHistory {
  /** It has followed the log once. */
  readonly reached: boolean
  /** Why the last call came to nothing; null when it did not. */
  readonly lastError: HotBackupError | null
}

/** The word for the state. What keeps a link from working is shown until it works, also while it is called again. */
export function statusWord(
  state: SessionState,
  activity: StreamActivity,
  history: LinkHistory,
): StatusWord {
  switch (state.name) {
    case 'unready':
      return notConnected(null, history)
    case 'calling':
    case 'waiting':
      return notConnected(state.trouble, history)
    case 'greeting':
      return state.trouble === null ? 'Connected' : troubleWord(state.trouble, history, 'Connected')
    case 'seeking':
      return state.trouble === null
        ? 'Reading queue'
        : troubleWord(state.trouble, history, 'Reading queue')
    case 'streaming':
      if (activity.writing) return 'Writing to network'
      if (activity.unacknowledged) return 'Waiting for ACK'
      return activity.unsent ? 'Reading queue' : 'Idle'
    case 'stopped':
      return 'Stopped'
    default:
      return unreachable(state)
  }
}

function notConnected(trouble: Trouble | null, history: LinkHistory): StatusWord {
  const otherwise = history.reached ? 'Wait response to call' : 'Not reached yet'
  return trouble === null ? otherwise : troubleWord(trouble, history, otherwise)
}

/** A failure without a word of its own passes by itself. */
function troubleWord({ kind }: Trouble, { lastError }: LinkHistory, otherwise: StatusWord) {
  const word = lastError === null ? null : wordFor(lastError.code, 'master')
  return word ?? (kind === 'refused' ? 'Refused' : otherwise)
}
