// Raises the alarm when replication stands still: once when somebody has not followed for a time, at once when only a
// person can help, and once when they follow again. What happens in between, the retries of a link say, is no alarm.
import type { ErrorCode } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Log } from '../config/messages-log.ts'

interface Trouble {
  /** Of those that waiting does not help; null when it may. */
  readonly code: string | null
  readonly message: string
}

/** A slave as its master sees it, or a slave as it sees itself. */
export interface Follower {
  /** For people; tells followers apart. */
  readonly who: string
  /** Why it does not follow; null while it does. */
  readonly trouble: Trouble | null
  /** While there is something to do, how far it has got: that must go on. Null: it has nothing to do. */
  readonly busyAt: number | null
  /** Somebody is at it: a copy of the database is offered, or on its way. */
  readonly help: 'offered' | 'coming' | null
}

/** These do not go away by themselves. */
const lasting: ReadonlySet<string> = new Set<ErrorCode>([
  'ERR_LINK_SEED',
  'ERR_LINK_DIVERGED',
  'ERR_LINK_FOREIGN',
  'ERR_LINK_LOOP',
  'ERR_LINK_NAME',
  'ERR_KEY',
])

/** The trouble with a link whose last error is `error`. */
export function linkTrouble(
  error: { readonly code: string; readonly message: string } | null,
  otherwise: string,
): Trouble {
  if (error === null) return { code: null, message: otherwise }
  const { code, message } = error
  return { code: lasting.has(code) ? code : null, message: `${code}: ${message}` }
}

/** Who follows for less than this, or does not get on for less than this, may be flapping or slow. */
const steadyMsMax = 10_000
const lookMsMax = 1000
/** So often broken and repaired again within one trouble, it is told while it happens to follow, too. */
const breaksMin = 3

interface State {
  /** By the monotonic clock; null: it follows, and did so for a while. */
  since: number | null
  /** It follows since then, for now. */
  steadySince: number | null
  /** How often it began not to follow. */
  breaks: number
  message: string
  /** An alarm was raised; and for which of the reasons that do not wait. */
  told: boolean
  readonly toldCodes: Set<string>
  at: number | null
  atSince: number
}

export class FollowWatch {
  readonly #clock: Clock
  readonly #say: Log
  readonly #afterMs: () => number
  readonly #look: () => readonly Follower[] | null
  readonly #states = new Map<string, State>()
  #timer: Timer | null = null

  /** `look` answers null while there is nothing to see: the server opens itself anew. */
  constructor(
    clock: Clock,
    say: Log,
    afterMs: () => number,
    look: () => readonly Follower[] | null,
  ) {
    this.#clock = clock
    this.#say = say
    this.#afterMs = afterMs
    this.#look = look
    this.#arm()
  }

  stop(): void {
    this.#timer?.cancel()
  }

  #arm(): void {
    const lookMs = Math.min(lookMsMax, this.#afterMs() / 4)
    const look = () => {
      const followers = this.#look()
      if (followers !== null) this.#take(followers)
      this.#arm()
    }
    this.#timer = this.#clock.after(lookMs, look, true)
  }

  #take(followers: readonly Follower[]): void {
    for (const follower of followers) this.#takeOne(follower)
    const known = new Set(followers.map(({ who }) => who))
    // Its slave was taken out of hb.toml.
    for (const who of this.#states.keys()) if (!known.has(who)) this.#states.delete(who)
  }

  #takeOne(follower: Follower): void {
    const now = this.#clock.monotonic()
    const state = this.#stateOf(follower, now)
    if (follower.busyAt !== state.at) {
      state.at = follower.busyAt
      state.atSince = now
    }
    const stalled = state.at !== null && now - state.atSince >= this.#steadyMs
    if (follower.trouble !== null) this.#troubled(follower, follower.trouble, state, now, now)
    else if (stalled) {
      const trouble = { code: null, message: `it does not get beyond transaction ${state.at}` }
      this.#troubled(follower, trouble, state, state.atSince, now)
    } else this.#follows(follower, state, now)
  }

  #stateOf({ who, busyAt }: Follower, now: number): State {
    const known = this.#states.get(who)
    if (known !== undefined) return known
    const fresh = { since: null, steadySince: null, breaks: 0, message: '', told: false }
    const state: State = { ...fresh, toldCodes: new Set(), at: busyAt, atSince: now }
    this.#states.set(who, state)
    return state
  }

  get #steadyMs(): number {
    return Math.min(steadyMsMax, this.#afterMs() / 2)
  }

  #troubled(
    { who, help }: Follower,
    { code, message }: Trouble,
    state: State,
    since: number,
    now: number,
  ): void {
    if (state.since === null || state.steadySince !== null) state.breaks++
    state.since ??= since
    state.steadySince = null
    state.message = message
    // The time begins when the copy is there.
    if (help === 'coming' && !state.told) state.since = now
    if (help !== null && code !== null) return
    if (code !== null && !state.toldCodes.has(code)) {
      state.toldCodes.add(code)
      this.#raise(state, `${who} does not follow: ${message}`)
    } else if (!state.told && now - state.since >= this.#afterMs()) {
      this.#raise(state, `${who} has not followed for ${this.#timeText}: ${message}`)
    }
  }

  #follows({ who }: Follower, state: State, now: number): void {
    if (state.since === null) return
    state.steadySince ??= now
    if (now - state.steadySince >= this.#steadyMs) {
      if (state.told) this.#say('info', `${who} follows again`, { alarm: true })
      this.#states.delete(who)
    } else if (!state.told && state.breaks >= breaksMin && now - state.since >= this.#afterMs()) {
      const often = `only now and then, for ${this.#timeText}`
      this.#raise(state, `${who} follows ${often}: ${state.message}`)
    }
  }

  get #timeText(): string {
    return `${this.#afterMs() / 1000} s`
  }

  #raise(state: State, message: string): void {
    state.told = true
    this.#say('error', message, { alarm: true })
  }
}
