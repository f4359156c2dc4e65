// Reads the data of a server that no process has open: the database files as of their checkpoint, and in memory what
// the log holds since. Nothing is locked or changed, so a server may start meanwhile and write the files: that is
// noticed by the journal, which comes before every change, and the catalog, which comes after, before anything
// that was read leaves.
import type { Handler } from '../control/handler.ts'
import { readHandlers } from '../data/data-handlers.ts'
import { Database } from '../database/database.ts'
import { filesSignature } from '../database/files-signature.ts'
import { replayLog } from '../database/replay.ts'
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { leftOut } from '../slave/lost-found.ts'
import type { Config } from '../config/config.ts'
import { databaseOptions } from '../config/database-options.ts'
import type { Layout } from '../config/layout.ts'
import { logEnd } from '../log/log-end.ts'
import { readApplyUpdates } from '../replay/apply-updates.ts'

export class FileReader {
  readonly #platform: Pick<Platform, 'disk' | 'clock'>
  readonly #layout: Layout
  readonly #database: Database
  readonly #signature: string

  private constructor(
    platform: Pick<Platform, 'disk' | 'clock'>,
    layout: Layout,
    database: Database,
    before: string,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#database = database
    this.#signature = before
  }

  /** Throws ERR_DATABASE_CORRUPT, ERR_LOG_CORRUPT, ERR_DISK, and ERR_DATABASE_CHANGED when a server is starting. */
  static async open(
    platform: Pick<Platform, 'disk' | 'clock'>,
    layout: Layout,
    config: Config,
  ): Promise<FileReader> {
    const before = await filesSignature(platform.disk, layout.database)
    let database: Database | null = null
    try {
      database = await Database.open(platform, layout.directory, {
        ...databaseOptions(config, false),
        readOnly: true,
      })
      const applies = config.type === 'master' || (await readApplyUpdates(platform, layout, config))
      const end = applies ? await logEnd(platform.disk, layout.log) : null
      if (end !== null && end.txn > database.stamp.txn) {
        const left = await leftOut(platform.disk, layout.lostAndFound)
        const passMisfits = config.type === 'slave'
        await replayLog(platform.disk, layout.log, database, end, { left, passMisfits })
      }
      return new FileReader(platform, layout, database, before)
    } catch (error) {
      await database?.close()
      // A server that has started explains any error.
      await checkSame(platform, layout, before, error)
      throw error
    }
  }

  /** Of the operations that only read. */
  get handlers(): Handler[] {
    const source = {
      database: this.#database,
      clock: this.#platform.clock,
      settled: () => checkSame(this.#platform, this.#layout, this.#signature),
    }
    return readHandlers(source).map(handler => ({
      ...handler,
      run: (request, peer) => this.#carry(handler.run(request, peer)),
    }))
  }

  async *#carry(
    answer: AsyncGenerator<object, object, undefined>,
  ): AsyncGenerator<object, object, undefined> {
    try {
      return yield* answer
    } catch (error) {
      await checkSame(this.#platform, this.#layout, this.#signature, error)
      throw error
    }
  }

  close(): Promise<void> {
    return this.#database.close()
  }
}

async function checkSame(
  platform: Pick<Platform, 'disk'>,
  layout: Layout,
  before: string,
  cause?: unknown,
): Promise<void> {
  if ((await filesSignature(platform.disk, layout.database)) === before) return
  const message = 'a server changed the database files while they were being read'
  throw new HotBackupError('ERR_DATABASE_CHANGED', message, { path: layout.database }, cause)
}
