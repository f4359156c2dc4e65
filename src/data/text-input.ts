// Text as UTF-8, whatever its encoding was, and without a byte order mark. Without another encoding the bytes pass as
// they are: item-ids and items need not be UTF-8.
import { HotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'

/** Decoded at once, and the place that an error names. */
const sliceBytes = 16 * KiB
const headBytes = 4

const bytesAsTheyAre = 'utf-8'

/** What stands in windows-1252 for 0x80 to 0x9F. Node decodes these as ISO-8859-1. */
const windows1252 = '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ'

/** The encoding's own name, from one of those in the WHATWG Encoding Standard. Throws ERR_USAGE when there is none. */
export function encodingNamed(name: string): string {
  try {
    return new TextDecoder(name).encoding
  } catch {
    throw new HotBackupError(
      'ERR_USAGE',
      `there is no encoding ${JSON.stringify(name.slice(0, 60))}`,
      {},
      undefined,
      'Some names are utf-8, utf-16le, utf-16be, windows-1252, iso-8859-15 and shift_jis.',
    )
  }
}

/**
 * `encoding`: as encodingNamed gives it; null for what the byte order mark says, or UTF-8. Throws ERR_IMPORT for what
 * is of another encoding, as far as that can be seen.
 */
export async function* utf8Bytes(
  source: AsyncIterable<Uint8Array>,
  encoding: string | null,
): AsyncGenerator<Buffer, void, undefined> {
  let head: Buffer | null = Buffer.alloc(0)
  let decoder: Decoder | null = null
  for await (const piece of source) {
    let bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
    if (head !== null) {
      head = Buffer.concat([head, bytes])
      if (head.length < headBytes) continue
      ;({ bytes, decoder } = begun(head, encoding))
      head = null
    }
    if (decoder === null) yield bytes
    else yield* decoder.decoded(bytes)
  }
  if (head !== null) {
    const { bytes, decoder: late } = begun(head, encoding)
    decoder = late
    if (decoder === null) yield bytes
    else yield* decoder.decoded(bytes)
  }
  const last = decoder?.end() ?? null
  if (last !== null) yield last
}

interface Mark {
  readonly encoding: string
  readonly bytes: readonly number[]
}

/** The longer ones first: one is the beginning of another. */
const marks: readonly Mark[] = [
  { encoding: 'utf-32le', bytes: [0xff, 0xfe, 0, 0] },
  { encoding: 'utf-32be', bytes: [0, 0, 0xfe, 0xff] },
  { encoding: 'utf-8', bytes: [0xef, 0xbb, 0xbf] },
  { encoding: 'utf-16le', bytes: [0xff, 0xfe] },
  { encoding: 'utf-16be', bytes: [0xfe, 0xff] },
]

/** `head`: the first four bytes at least, or all there are. The rest of them, and null for bytes as they are. */
function begun(head: Buffer, wanted: string | null): { bytes: Buffer; decoder: Decoder | null } {
  const mark = marks.find(({ bytes }) => bytes.every((byte, index) => head[index] === byte))
  if (mark?.encoding.startsWith('utf-32') === true) {
    throw wrongEncoding('the input is UTF-32', 'Convert it to UTF-8.')
  }
  if (mark !== undefined && wanted !== null && mark.encoding !== wanted) {
    const what = `the input begins with the byte order mark of ${upper(mark.encoding)}`
    throw wrongEncoding(what, `Leave --encoding out, or give it as ${mark.encoding}.`)
  }
  const encoding = mark?.encoding ?? wanted ?? bytesAsTheyAre
  const markBytes = mark?.bytes.length ?? 0
  if (mark === undefined && wanted === null) refuseUnmarked(head)
  return {
    bytes: head.subarray(markBytes),
    decoder: encoding === bytesAsTheyAre ? null : new Decoder(encoding, markBytes),
  }
}

/** JSON and the names of columns begin with a character that is one byte in UTF-8, and not zero. */
function refuseUnmarked(head: Buffer): void {
  const [first, second] = head
  if (first === undefined || second === undefined || (first === 0) === (second === 0)) return
  const likely = first === 0 ? 'utf-16be' : 'utf-16le'
  const what = `the input looks like ${upper(likely)} without a byte order mark`
  throw wrongEncoding(what, `Give --encoding ${likely}.`)
}

function wrongEncoding(what: string, hint: string): HotBackupError {
  return new HotBackupError('ERR_IMPORT', what, {}, undefined, hint)
}

function upper(encoding: string): string {
  return encoding.toUpperCase()
}

class Decoder {
  readonly #encoding: string
  readonly #decode: (bytes: Buffer, more: boolean) => string
  #offset: number

  constructor(encoding: string, offset: number) {
    this.#encoding = encoding
    this.#offset = offset
    const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true })
    this.#decode =
      encoding === 'windows-1252'
        ? fromWindows1252
        : (bytes, more) => decoder.decode(bytes, { stream: more })
  }

  *decoded(bytes: Buffer): Generator<Buffer, void, undefined> {
    for (let start = 0; start < bytes.length; start += sliceBytes) {
      yield this.#checked(bytes.subarray(start, start + sliceBytes), true)
    }
  }

  /** Null for nothing more. */
  end(): Buffer | null {
    const last = this.#checked(Buffer.alloc(0), false)
    return last.length === 0 ? null : last
  }

  #checked(bytes: Buffer, more: boolean): Buffer {
    this.#offset += bytes.length
    try {
      return Buffer.from(this.#decode(bytes, more))
    } catch {
      const sliceEnd = Math.ceil(this.#offset / sliceBytes) * (sliceBytes / KiB)
      const where = more ? `: see its first ${sliceEnd} KiB` : ': it ends within a character'
      throw wrongEncoding(
        `the input is not ${upper(this.#encoding)}${where}`,
        'Give its encoding with --encoding.',
      )
    }
  }
}

function fromWindows1252(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replaceAll(/[\x80-\x9f]/g, unit => windows1252[unit.charCodeAt(0) - 0x80] ?? unit)
}
