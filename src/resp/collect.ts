// Goes over all items of a file for one reply. Of a large file in slices, so that other clients are not held up; what
// is written meanwhile may be in the reply or not.
import type { EntryVisitor } from '../database/group-walk.ts'
import { turn } from '../platform/clock.ts'
import type { Answer, Call } from './call.ts'
import type { Place } from './place.ts'
import { Reply } from './reply.ts'

/** Writes something about an item to `reply`, and says how many values that were. */
export type Describe = (reply: Reply, ...item: Parameters<EntryVisitor>) => number

/** Up to so many items are visited in one turn. */
const turnItems = 10_000

/**
 * Describes all items. `head` writes what comes before the values, of which there are so many, to the call's reply.
 */
export function collect(
  call: Call,
  place: Place,
  withValues: boolean,
  describe: Describe,
  head: (reply: Reply, values: number) => void,
): void | Promise<Answer> {
  const { access } = call
  if (call.inTransaction || access.count(place) <= turnItems) {
    const { scratch } = call
    scratch.protocol = call.reply.protocol
    scratch.cutBack(0)
    let values = 0
    const visit: EntryVisitor = (...item) => {
      values += describe(scratch, ...item)
    }
    let cursor: number | null = 0
    while (cursor !== null) cursor = access.scan(place, cursor, turnItems, visit, withValues)
    head(call.reply, values)
    call.reply.append(scratch)
    return undefined
  }
  return collectSlowly(call, place, withValues, describe, head)
}

async function collectSlowly(
  { access, context, reply }: Call,
  place: Place,
  withValues: boolean,
  describe: Describe,
  head: (reply: Reply, values: number) => void,
): Promise<Answer> {
  const own = new Reply(reply.bytesMax)
  own.protocol = reply.protocol
  let values = 0
  const visit: EntryVisitor = (...item) => {
    values += describe(own, ...item)
  }
  let cursor: number | null = 0
  while (cursor !== null) {
    cursor = access.scan(place, cursor, turnItems, visit, withValues)
    await turn(context.clock)
  }
  return reply => {
    head(reply, values)
    reply.append(own)
  }
}
