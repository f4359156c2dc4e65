// Where zlib.crc32 overtakes crc-32: the threshold in src/log/crc.ts. Run: node bench/crc.ts (after tsc), 2 s.
import CRC32 from 'crc-32'
import * as zlib from 'node:zlib'
import { sized } from './workload.ts'

const lengths = [64, 128, 192, 224, 256, 288, 320, 384, 512, 1024, 4096, 65_536, 1_048_576]
const bytesPerRound = sized(16 * 1024 * 1024)

function nanoseconds(run: (bytes: Uint8Array) => number, bytes: Uint8Array): number {
  const rounds = Math.min(200_000, Math.ceil(bytesPerRound / bytes.length))
  let best = Infinity
  for (let attempt = 0; attempt < 3; attempt++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < rounds; i++) run(bytes)
    best = Math.min(best, Number(process.hrtime.bigint() - start) / rounds)
  }
  return best
}

console.log('    bytes   crc-32 ns     zlib ns   faster')
for (const length of lengths) {
  const bytes = Buffer.alloc(length, 'hotbackup')
  const table = nanoseconds(value => CRC32.buf(value, 0) >>> 0, bytes)
  const native = nanoseconds(value => zlib.crc32(value, 0), bytes)
  const faster = table < native ? 'crc-32' : 'zlib'
  console.log(
    `${String(length).padStart(9)} ${table.toFixed(0).padStart(11)} ${native.toFixed(0).padStart(11)}   ${faster}`,
  )
}
