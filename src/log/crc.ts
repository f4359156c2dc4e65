// CRC-32 (the polynomial of zlib, Ethernet and gzip) by whichever implementation is faster for the length:
// a call into zlib costs about 250 ns, after which it is several times faster than the table in crc-32.
import CRC32 from 'crc-32'
import * as zlib from 'node:zlib'

/** Where the two are equally fast on x86-64 and Node 20 (bench/crc.ts measures it). */
const zlibBytesMin = 300

/** CRC-32 of `bytes` from `start` to `end`, going on from `seed` (0, or the CRC of what comes before). Unsigned. */
export function crc32(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  const range =
    start === 0 && end === bytes.length
      ? bytes
      : new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)
  return end - start < zlibBytesMin ? CRC32.buf(range, seed) >>> 0 : zlib.crc32(range, seed)
}
