// Frames of the control socket: a JSON header and bytes.
//
// FRAME, little-endian
//
//    0  header length  u32   at most 1 MiB
//    4  body length    u32   at most 72 MiB: the largest item, and room
//    8  header         JSON
//    …  body           bytes
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, MiB } from '../limits.ts'

/** The header's fields are not checked. */
export interface Frame {
  readonly header: object
  readonly body: Buffer
}

export const frameHeaderBytesMax = 1 * MiB
export const frameBodyBytesMax = itemBytesMax + 8 * MiB
const prefixBytes = 8

/** The bytes of a frame, in pieces to be written one after the other: the body is not copied. */
export function encodeFrame(header: object, body: Uint8Array): Uint8Array[] {
  const json = Buffer.from(JSON.stringify(header))
  if (json.length > frameHeaderBytesMax || body.length > frameBodyBytesMax) {
    throw new TypeError(`a control frame of ${json.length} and ${body.length} bytes`)
  }
  const start = Buffer.allocUnsafe(prefixBytes + json.length)
  start.writeUInt32LE(json.length, 0)
  start.writeUInt32LE(body.length, 4)
  json.copy(start, prefixBytes)
  return body.length === 0 ? [start] : [start, body]
}

/** Puts frames together from whatever pieces arrive. Holds one frame at most. */
export class FrameDecoder {
  readonly #prefix = Buffer.alloc(prefixBytes)
  #prefixFilled = 0
  #content: Buffer | null = null
  #contentFilled = 0

  /** True in the middle of a frame. */
  get partial(): boolean {
    return this.#prefixFilled > 0
  }

  /** Takes the bytes and gives back the frames that are complete now. Throws ERR_WIRE: drop the connection then. */
  push(bytes: Uint8Array): Frame[] {
    const frames: Frame[] = []
    for (let start = 0; start < bytes.length;) {
      start +=
        this.#content === null ? this.#takePrefix(bytes, start) : this.#takeContent(bytes, start)
      if (this.#content !== null && this.#contentFilled === this.#content.length) {
        frames.push(this.#finish(this.#content))
      }
    }
    return frames
  }

  #takePrefix(bytes: Uint8Array, start: number): number {
    const count = Math.min(prefixBytes - this.#prefixFilled, bytes.length - start)
    this.#prefix.set(bytes.subarray(start, start + count), this.#prefixFilled)
    this.#prefixFilled += count
    if (this.#prefixFilled === prefixBytes) {
      const header = this.#prefix.readUInt32LE(0)
      const body = this.#prefix.readUInt32LE(4)
      if (header > frameHeaderBytesMax || body > frameBodyBytesMax) {
        throw new HotBackupError('ERR_WIRE', `a control frame of ${header} and ${body} bytes`)
      }
      this.#content = Buffer.allocUnsafeSlow(header + body)
      this.#contentFilled = 0
    }
    return count
  }

  #takeContent(bytes: Uint8Array, start: number): number {
    const content = this.#content as Buffer
    const count = Math.min(content.length - this.#contentFilled, bytes.length - start)
    content.set(bytes.subarray(start, start + count), this.#contentFilled)
    this.#contentFilled += count
    return count
  }

  #finish(content: Buffer): Frame {
    const headerLength = this.#prefix.readUInt32LE(0)
    this.#content = null
    this.#prefixFilled = 0
    return {
      header: parseHeader(content.toString('utf8', 0, headerLength)),
      body: content.subarray(headerLength),
    }
  }
}

function parseHeader(text: string): object {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new HotBackupError('ERR_WIRE', 'the header of a control frame is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HotBackupError('ERR_WIRE', 'the header of a control frame is no object')
  }
  return value
}
