// "hb statistics": what a slave has done since its start. A slave's process tells of itself; of another server the
// process that ships to it, which asks over the link: the answer proves that the link works both ways.
import * as v from 'valibot'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { recordTypeNames, type RecordType } from '../log/record.ts'
import type { Platform } from '../platform/platform.ts'
import type { Shipper } from '../ship/shipper.ts'
import type { SlaveStatistics } from '../wire/messages/statistics.ts'
import { loadConfig } from '../config/config.ts'
import type { ControlClient } from '../control/control-client.ts'
import type { Handler } from '../control/handler.ts'
import { ask, handler, operation, text, whole } from '../control/operation.ts'
import { reach, type ReachPlatform } from '../control/reach.ts'
import { layoutOf } from '../config/layout.ts'

/** What is printed of one slave. */
export interface StatisticsRow extends Omit<SlaveStatistics, 'records'> {
  readonly name: string
  /** From the question to the answer over the link; null when the slave itself was asked. */
  readonly roundTripMs: number | null
  /** Applied records by the names of their types, those of "hb log dump". */
  readonly operations: Readonly<Record<string, number>>
}

/** A slave that could not be asked. */
export interface StatisticsFailure {
  readonly name: string
  readonly error: HotBackupError
}

/** What this slave has done since its start, or one that this server ships to. */
export const statistics = operation('statistics', {
  request: v.object({ slave: v.nullable(text) }),
  answer: v.object({
    statistics: v.object({
      since: v.number(),
      bytesReceived: whole,
      transactions: whole,
      lost: whole,
      leftOut: whole,
      itemBytes: whole,
      records: v.array(whole),
    }),
    roundTripMs: v.nullable(v.number()),
  }),
})

export function statisticsHandler(
  own: { statistics(): SlaveStatistics } | null,
  shipper: () => Pick<Shipper, 'statistics'> | null,
): Handler {
  return handler(statistics, async ({ slave }) => {
    if (slave === null && own !== null) return { statistics: own.statistics(), roundTripMs: null }
    if (slave === null) throw new HotBackupError('ERR_WRONG_TYPE', 'only a slave keeps statistics')
    const asked = await shipper()?.statistics(slave)
    if (asked !== undefined) return asked
    throw new HotBackupError('ERR_NO_SLAVE', `nothing is sent to "${slave}"`, { slave })
  })
}

/**
 * Of a slave its own, of a master those of all its slaves; or those of the slave that is named. Throws ERR_NOT_RUNNING,
 * ERR_REOPENING, ERR_NO_SLAVE.
 */
export async function collectStatistics(
  platform: ReachPlatform & Pick<Platform, 'disk'>,
  directory: string,
  slave: string | null,
): Promise<(StatisticsRow | StatisticsFailure)[]> {
  const layout = layoutOf(directory)
  const { name, type, slaves } = await loadConfig(platform.disk, layout)
  const resident = type === 'master' ? 'shipper' : 'owner'
  const asked = slave === null ? slaves.map(one => one.name) : [slave]
  const own = slave === null && type === 'slave'
  const names = own ? [null] : asked
  return Promise.all(
    names.map(async one => {
      // A connection answers one question after the other: a slave that does not answer holds up no other.
      const client = await reach(platform, layout, resident)
      if (client === null) throw new HotBackupError('ERR_NOT_RUNNING', `${name} is not running`)
      try {
        return await rowOf(client, one ?? name, one)
      } finally {
        client.close()
      }
    }),
  )
}

async function rowOf(
  client: ControlClient,
  name: string,
  slave: string | null,
): Promise<StatisticsRow | StatisticsFailure> {
  try {
    const answer = await ask(client, statistics, { slave })
    const { records, ...counts } = answer.statistics
    return { name, roundTripMs: answer.roundTripMs, ...counts, operations: named(records) }
  } catch (error) {
    if (!isHotBackupError(error) || error.code === 'ERR_NO_SLAVE') throw error
    return { name, error }
  }
}

/** A type that this program does not know goes by its number. */
function named(records: readonly number[]): Record<string, number> {
  const operations: Record<string, number> = {}
  records.forEach((count, index) => {
    const type = index + 1
    operations[recordTypeNames[type as RecordType] ?? `type-${type}`] = count
  })
  return operations
}
