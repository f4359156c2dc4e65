// Turns the bytes of a connection into messages. Small messages are read where they lie, or gathered in a small
// fixed buffer when they come in pieces; a run of blocks is gathered in a buffer of its own, which the receiver of
// the message keeps. Nothing is allocated for a length before type, bounds and CRC of its header have been checked.
import { HotBackupError } from '../errors.ts'
import type { Codec } from './codec.ts'
import { FieldReader } from './fields.ts'
import {
  codecOfType,
  frameCrc,
  smallBytesMax,
  type Message,
  type SmallMessage,
} from './messages.ts'
import {
  blocksBytesMax,
  blocksBytesMin,
  blocksHeadBytes,
  readBlocksHead,
  type BlocksHead,
} from './messages/blocks.ts'
import {
  MessageType,
  frameHeaderBytes,
  framingVersion,
  messageMagic,
  typeText,
  type MessageName,
} from './protocol.ts'

/** A header that was looked at: what is to be gathered before the message, or the head of its run, can be read. */
interface Frame {
  /** Null for BLOCKS. */
  readonly codec: Codec<SmallMessage> | null
  /** Of the payload. */
  readonly length: number
  /** Header and payload, or of BLOCKS header and head. */
  readonly gatherBytes: number
}

export class MessageReader {
  readonly #deliver: (message: Message) => void
  #allowed: ReadonlySet<number> = new Set()
  /** The begun message, as far as it came, when it lies in more than one chunk. */
  #gathered: Buffer = Buffer.allocUnsafeSlow(frameHeaderBytes + smallBytesMax)
  #gatheredBytes = 0
  #frame: Frame | null = null
  #head: BlocksHead | null = null
  #run: Buffer | null = null
  #runBytes = 0
  #stopped = false

  /** `deliver` may call `allow` and `stop`. */
  constructor(deliver: (message: Message) => void) {
    this.#deliver = deliver
  }

  /** Sets which messages may come from here on: others are an error, found before their payload is kept. */
  allow(...names: readonly MessageName[]): void {
    this.#allowed = new Set(names.map(name => MessageType[name]))
  }

  /** Nothing is delivered any more. */
  stop(): void {
    this.#stopped = true
    this.#run = null
  }

  /** Bytes of the message that has begun and not ended; of its whole length when that is known. 0: none has begun. */
  get begunBytes(): number {
    if (this.#run !== null) return this.#run.length
    if (this.#gatheredBytes === 0) return 0
    return this.#frame?.gatherBytes ?? frameHeaderBytes
  }

  /**
   * Takes the next bytes and delivers the messages that they complete.
   * Throws ERR_WIRE, or ERR_LINK_REFUSED for another framing or protocol version; the reader is of no use after it.
   */
  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      at = this.#run === null ? this.#pushFrame(chunk, at) : this.#pushRun(this.#run, chunk, at)
    }
  }

  #pushFrame(chunk: Buffer, at: number): number {
    if (this.#gatheredBytes === 0) {
      const end = this.#readInPlace(chunk, at)
      if (end > at) return end
    }
    // In pieces: first as much as the header needs, then as much as the header says.
    const wanted = this.#frame?.gatherBytes ?? frameHeaderBytes
    const length = Math.min(wanted - this.#gatheredBytes, chunk.length - at)
    if (wanted > this.#gathered.length) this.#gathered = grown(this.#gathered, wanted)
    chunk.copy(this.#gathered, this.#gatheredBytes, at, at + length)
    this.#gatheredBytes += length
    if (this.#gatheredBytes === wanted) {
      if (this.#frame === null) this.#frame = this.#checkHeader(this.#gathered, 0)
      if (this.#gatheredBytes === this.#frame.gatherBytes) {
        const frame = this.#frame
        this.#gatheredBytes = 0
        this.#frame = null
        this.#finishFrame(frame, this.#gathered, 0)
      }
    }
    return at + length
  }

  /** Reads the frame at `at` without a copy when the chunk has all of it. Returns its end, or `at`. */
  #readInPlace(chunk: Buffer, at: number): number {
    if (chunk.length - at < frameHeaderBytes) return at
    const frame = this.#checkHeader(chunk, at)
    if (chunk.length - at < frame.gatherBytes) return at
    this.#finishFrame(frame, chunk, at)
    return at + frame.gatherBytes
  }

  #checkHeader(bytes: Buffer, start: number): Frame {
    if (bytes.readUInt32LE(start) !== messageMagic) {
      throw new HotBackupError('ERR_WIRE', 'the peer does not speak the hotbackup protocol')
    }
    const version = bytes.readUInt8(start + 5)
    if (version !== framingVersion) {
      const message = `the peer speaks framing version ${version}, this program ${framingVersion}`
      throw new HotBackupError('ERR_LINK_REFUSED', message)
    }
    const type = bytes.readUInt8(start + 4)
    const codec = codecOfType.get(type) ?? null
    if (codec === null && type !== MessageType.blocks) {
      throw new HotBackupError('ERR_WIRE', `unknown message type ${typeText(type)}`)
    }
    if (!this.#allowed.has(type)) {
      throw new HotBackupError('ERR_WIRE', `message ${typeText(type)} may not come now`)
    }
    const length = bytes.readUInt32LE(start + 8)
    const low = codec?.bytesMin ?? blocksBytesMin
    const high = codec?.bytesMax ?? blocksBytesMax
    if (length < low || length > high) {
      const message = `message ${typeText(type)} of ${length} bytes, where ${low} to ${high} are possible`
      throw new HotBackupError('ERR_WIRE', message)
    }
    return {
      codec,
      length,
      gatherBytes: frameHeaderBytes + (codec === null ? blocksHeadBytes : length),
    }
  }

  /** All that is to be gathered lies at `start`: delivers the message, or begins to gather its run. */
  #finishFrame(frame: Frame, bytes: Buffer, start: number): void {
    const { codec, length, gatherBytes } = frame
    const end = start + gatherBytes
    if (bytes.readUInt32LE(start + 12) !== frameCrc(bytes, start, end)) {
      const type = typeText(bytes.readUInt8(start + 4))
      throw new HotBackupError('ERR_WIRE', `message ${type} has a wrong CRC`)
    }
    const fields = new FieldReader(codec?.name ?? 'blocks', bytes, start + frameHeaderBytes, end)
    if (codec !== null) {
      this.#deliver(codec.read(fields))
      return
    }
    this.#head = readBlocksHead(fields)
    this.#run = Buffer.allocUnsafeSlow(length - blocksHeadBytes)
    this.#runBytes = 0
  }

  #pushRun(run: Buffer, chunk: Buffer, at: number): number {
    const length = Math.min(run.length - this.#runBytes, chunk.length - at)
    chunk.copy(run, this.#runBytes, at, at + length)
    this.#runBytes += length
    if (this.#runBytes === run.length && this.#head !== null) {
      const head = this.#head
      this.#run = null
      this.#head = null
      this.#deliver({ name: 'blocks', ...head, run })
    }
    return at + length
  }
}

function grown(bytes: Buffer, length: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(length)
  bytes.copy(larger)
  return larger
}
