// What is replayed by hand on a slave that runs: one after the other, until it is promoted or stopped.
import { handler } from '../control/operation.ts'
import type { Handler } from '../control/handler.ts'
import { answerWithProgress } from '../control/progress-answer.ts'
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Platform } from '../platform/platform.ts'
import type { Replayer } from '../slave/replayer.ts'
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'
import { replayByHand } from './manual-replay.ts'
import {
  type ReplayProgress,
  type ReplayReport,
  type ReplayRequest,
  replayOperations,
} from './replay-operations.ts'

export interface ManualReplayParts {
  readonly platform: Platform
  readonly layout: Layout
  readonly config: Config
  readonly database: Database
  readonly log: LogWriter
  readonly replayer: Replayer
  /** Name of the master that is connected, if one is. */
  readonly master: () => string | null
}

export class ManualReplays {
  readonly #parts: ManualReplayParts
  #replaying: Promise<void> = Promise.resolve()
  readonly #ends = new AbortController()
  #bringing = false

  constructor(parts: ManualReplayParts) {
    this.#parts = parts
  }

  /** Carries out the operation. */
  get handler(): Handler {
    return handler(replayOperations.replay, request =>
      answerWithProgress((progress, signal) => this.#replay(request, progress, signal)),
    )
  }

  #replay(
    request: ReplayRequest,
    progress: (progress: ReplayProgress) => void,
    signal: AbortSignal,
  ): Promise<ReplayReport> {
    const parts = {
      ...this.#parts,
      on: this.#parts.replayer.on,
      keepMasterOut: () => this.#keepMasterOut(),
    }
    const ends = AbortSignal.any([signal, this.#ends.signal])
    const replayed = this.#replaying.then(() => replayByHand(parts, request, progress, ends))
    this.#replaying = replayed.then(
      () => {},
      () => {},
    )
    return replayed
  }

  /** Why no master may append to the log now, or null. */
  get refusal(): HotBackupError | null {
    if (!this.#bringing) return null
    return new HotBackupError('ERR_LINK_REFUSED', 'segments are being brought by hand')
  }

  /** Breaks off what is under way; nothing begins any more. */
  end(): void {
    this.#ends.abort()
  }

  async ended(): Promise<void> {
    this.end()
    await this.#replaying
  }

  #keepMasterOut(): () => void {
    const master = this.#parts.master()
    if (master !== null) {
      const message = `${master} is connected, and sends what there is: nobody else may bring segments meanwhile`
      throw new HotBackupError('ERR_UNSAFE', message)
    }
    this.#bringing = true
    return () => {
      this.#bringing = false
    }
  }
}
