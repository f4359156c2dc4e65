// What a helper is told, and what it says: the order is its one argument, JSON; it answers with lines of JSON on its
// standard output. Each side checks what it gets: the programs may be of different versions.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const state = v.object({
  fileNumber: count,
  number: count,
  modulo: v.pipe(count, v.minValue(1)),
  itemCount: count,
  itemBytes: count,
  frameCount: count,
  freeHead: count,
  diskFrames: count,
})
// Where the pages of checksums lie is too long for an argument or a line: the catalog has it of a source, and the built
// data file of a target.

const order = v.variant('kind', [
  v.object({
    kind: v.literal('build'),
    sourceDirectory: v.string(),
    source: state,
    targetDirectory: v.string(),
    number: count,
    modulo: v.pipe(count, v.minValue(1)),
    cacheBytes: count,
  }),
  v.object({ kind: v.literal('remove'), path: v.string() }),
])
export type HelperOrder = v.InferOutput<typeof order>

const answer = v.variant('type', [
  /** It lives, and is so far: from 0 to 1. */
  v.object({ type: v.literal('progress'), progress: v.number() }),
  v.object({ type: v.literal('built'), path: v.string(), state, sumsPages: count }),
  v.object({ type: v.literal('removed') }),
  /** `damaged`: what it was to read. */
  v.object({ type: v.literal('failed'), message: v.string(), damaged: v.optional(v.boolean()) }),
])
export type HelperAnswer = v.InferOutput<typeof answer>

/** Throws ERR_PROCESS. */
export function parseOrder(text: string): HelperOrder {
  return parsed(order, text, 'order')
}

/** Throws ERR_PROCESS. */
export function parseAnswer(text: string): HelperAnswer {
  return parsed(answer, text, 'answer')
}

function parsed<T>(schema: v.GenericSchema<unknown, T>, text: string, what: string): T {
  try {
    return v.parse(schema, JSON.parse(text))
  } catch (error) {
    const shown = text.slice(0, 200)
    throw new HotBackupError('ERR_PROCESS', `that is no ${what}: ${shown}`, {}, error)
  }
}
