// REWIND, slave to master: bytes are missing or damaged; send again from behind this position. The slave drops
// everything until the START that answers.
//
//    0  txn       u64
//    8  chain     u32  CRC-32 of the block that ends with txn
//   12  reserved  u32  0
import type { LogPosition } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'

export interface Rewind {
  readonly name: 'rewind'
  readonly position: LogPosition
}

export const rewindCodec: Codec<Rewind> = {
  name: 'rewind',
  bytesMin: 16,
  bytesMax: 16,
  write(fields, { position }) {
    fields.u64(position.txn)
    fields.u32(position.chain)
    fields.u32(0)
  },
  read(fields) {
    const position = fields.position()
    fields.skip(4)
    return { name: 'rewind', position }
  },
}
