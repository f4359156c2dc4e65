// The owner's part when somebody copies its directory while it works: it notes which frames change, lets the files
// stand still for a moment, and keeps the log's segments meanwhile. One session belongs to one connection of the
// control socket and ends with it, so a copier that dies holds nothing up.
import type { Handler, Peer } from '../control/handler.ts'
import { handler } from '../control/operation.ts'
import type { Database } from '../database/database.ts'
import { packRanges, type FrameChanges } from '../database/frame-changes.ts'
import { MiB } from '../limits.ts'
import type { Retention } from '../updates/retention.ts'
import { copyOperations } from './copy-operations.ts'

/** What an owner gives for copying. */
export interface CopySource {
  readonly database: Pick<Database, 'watchFrames'>
  readonly retention: Pick<Retention, 'hold'>
  /** See Checkpointer.hold. */
  hold(): Promise<() => void>
}

/** One message of the control socket takes so much. */
const partBytes = 1 * MiB

/** A session belongs to one connection. */
export function copyHandlers(source: CopySource): Handler[] {
  const sessions = new WeakMap<Peer, CopySession>()
  const sessionOf = (peer: Peer): CopySession => {
    const known = sessions.get(peer)
    if (known !== undefined) return known
    const session = new CopySession(source)
    sessions.set(peer, session)
    peer.onEnd(() => session.end())
    return session
  }
  return [
    handler(copyOperations.begin, async (_, peer) => {
      sessionOf(peer)
      return {}
    }),
    handler(copyOperations.changes, async function* (_, peer) {
      for (const body of sessionOf(peer).changes()) yield { body }
      return {}
    }),
    handler(copyOperations.hold, async (_, peer) => {
      await sessionOf(peer).hold()
      return {}
    }),
    handler(copyOperations.release, async (_, peer) => {
      sessionOf(peer).release()
      return {}
    }),
  ]
}

class CopySession {
  readonly #source: CopySource
  readonly #changes: FrameChanges
  readonly #unwatch: () => void
  readonly #keepLess: () => void
  #release: (() => void) | null = null
  #ended = false

  constructor(source: CopySource) {
    this.#source = source
    const { changes, end } = source.database.watchFrames()
    this.#changes = changes
    this.#unwatch = end
    this.#keepLess = source.retention.hold()
  }

  /** Frames that have changed on the disk since the last call, packed. */
  *changes(): Generator<Buffer> {
    const bytes = packRanges(this.#changes.take())
    for (let start = 0; start < bytes.length; start += partBytes) {
      yield bytes.subarray(start, start + partBytes)
    }
  }

  /** Makes a checkpoint; from then on the files on the disk stand still, until `release`. */
  async hold(): Promise<void> {
    if (this.#release !== null) return
    const release = await this.#source.hold()
    // The copier may have gone while it waited for its turn.
    if (this.#ended) release()
    else this.#release = release
  }

  release(): void {
    this.#release?.()
    this.#release = null
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.release()
    this.#unwatch()
    this.#keepLess()
  }
}
