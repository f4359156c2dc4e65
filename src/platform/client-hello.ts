// The first message of a TLS 1.3 client, ClientHello (RFC 8446, 4.1.2): whether its sender has the key. A client that
// offers a pre-shared key adds a "binder", an HMAC over its own message by a key that is derived from the shared one
// (4.2.11.2). To check it costs a hash over a few hundred bytes; so whoever has no key is told apart before there is
// any TLS state for it. TLS itself checks all of it again.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { KiB } from '../limits.ts'

/** Ours take 300 bytes, or 1.5 KiB with the longest key exchange that OpenSSL offers. */
export const helloBytesMax = 4 * KiB

const recordHeadBytes = 5
const handshakeRecord = 22
const clientHelloType = 1
const preSharedKeyExtension = 41

/** What the first bytes of a client say so far; `unproven` is a client of TLS that has not this key. */
export type HelloVerdict = 'incomplete' | 'proven' | 'unproven' | 'stranger'

/** The alert by which OpenSSL answers a wrong binder: fatal, illegal_parameter (6). */
export const wrongKeyAlert: Uint8Array = Buffer.from([21, 3, 3, 0, 2, 2, 47])

/** Tells whether a ClientHello was made with the key by that name. */
export class HelloCheck {
  readonly #identity: Buffer
  readonly #finishedKey: Buffer

  constructor(key: Uint8Array, identity: string) {
    this.#identity = Buffer.from(identity)
    // The key schedule (7.1), from the pre-shared key to the binder's key. The hash is SHA-256: the only cipher
    // suite that is offered implies it.
    const zeroes = Buffer.alloc(32)
    const early = createHmac('sha256', zeroes).update(key).digest()
    const binderKey = expandLabel(early, 'ext binder', createHash('sha256').digest())
    this.#finishedKey = expandLabel(binderKey, 'finished', Buffer.alloc(0))
  }

  /** `bytes`: all that has come from the client. */
  verdict(bytes: Buffer): HelloVerdict {
    // What is wrong is seen as early as it is there: a stranger that says anything else goes at its first byte.
    if (!startsLikeHello(bytes)) return 'stranger'
    if (bytes.length < recordHeadBytes) return 'incomplete'
    const end = recordHeadBytes + bytes.readUInt16BE(3)
    if (end > helloBytesMax) return 'stranger'
    if (bytes.length < end) return 'incomplete'
    return this.#proves(bytes.subarray(recordHeadBytes, end)) ? 'proven' : 'unproven'
  }

  #proves(hello: Buffer): boolean {
    const offer = preSharedKeyOffer(hello)
    if (offer === null || !offer.identity.equals(this.#identity)) return false
    const transcript = createHash('sha256').update(hello.subarray(0, offer.boundEnd)).digest()
    const binder = createHmac('sha256', this.#finishedKey).update(transcript).digest()
    return binder.length === offer.binder.length && timingSafeEqual(binder, offer.binder)
  }
}

function expandLabel(secret: Buffer, label: string, context: Buffer): Buffer {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([
    Buffer.from([0, 32, name.length]),
    name,
    Buffer.from([context.length]),
    context,
  ])
  // HKDF-Expand alone, of one block: Node's HKDF would extract first.
  return createHmac('sha256', secret)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
}

function startsLikeHello(bytes: Buffer): boolean {
  const [type, major, , , , message] = bytes
  return (
    (type === undefined || type === handshakeRecord) &&
    (major === undefined || major === 3) &&
    (message === undefined || message === clientHelloType)
  )
}

interface Offer {
  /** Of the first key that is offered. */
  readonly identity: Buffer
  readonly binder: Buffer
  /** The binders bind everything before here. */
  readonly boundEnd: number
}

/** Null when the bytes are no ClientHello that offers a pre-shared key. */
function preSharedKeyOffer(hello: Buffer): Offer | null {
  try {
    const all = new Reader(hello, 0, hello.length)
    all.take(1)
    const body = all.vector(3)
    if (all.left > 0) return null
    body.take(2 + 32) // version and random
    body.vector(1) // session
    body.vector(2) // cipher suites
    body.vector(1) // compressions
    const extensions = body.vector(2)
    while (extensions.left > 0) {
      const type = extensions.number(2)
      const extension = extensions.vector(2)
      if (type !== preSharedKeyExtension) continue
      // It is the last one, or the binders would not bind what follows.
      if (extensions.left > 0) return null
      const identities = extension.vector(2)
      const boundEnd = extension.at
      const binders = extension.vector(2)
      return { identity: identities.vector(2).rest(), binder: binders.vector(1).rest(), boundEnd }
    }
    return null
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

/** Reads fields one after the other; throws RangeError at the end of what it may read. */
class Reader {
  readonly #bytes: Buffer
  readonly #end: number
  at: number

  constructor(bytes: Buffer, start: number, end: number) {
    if (end > bytes.length) throw new RangeError('a length leads beyond the end')
    this.#bytes = bytes
    this.at = start
    this.#end = end
  }

  get left(): number {
    return this.#end - this.at
  }

  take(count: number): number {
    if (count > this.left) throw new RangeError('a field leads beyond the end')
    const start = this.at
    this.at += count
    return start
  }

  number(width: number): number {
    return this.#bytes.readUIntBE(this.take(width), width)
  }

  /** A field behind its length. */
  vector(widthOfLength: number): Reader {
    const length = this.number(widthOfLength)
    const start = this.take(length)
    return new Reader(this.#bytes, start, start + length)
  }

  rest(): Buffer {
    return this.#bytes.subarray(this.at, this.#end)
  }
}
