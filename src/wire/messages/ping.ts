// PING and PONG, either way: a sign of life, and the time that it takes there and back.
//
//    0  token        u64  of PING: anything; of PONG: that of the PING that it answers
//    8  durable txn  u64  last durable transaction in the sender's log
import type { Codec } from '../codec.ts'

export interface Ping {
  readonly name: 'ping'
  readonly token: number
  readonly durableTxn: number
}

export interface Pong {
  readonly name: 'pong'
  readonly token: number
  readonly durableTxn: number
}

export const pingCodec: Codec<Ping> = {
  name: 'ping',
  bytesMin: 16,
  bytesMax: 16,
  write(fields, { token, durableTxn }) {
    fields.u64(token)
    fields.u64(durableTxn)
  },
  read(fields) {
    return { name: 'ping', token: fields.u64(), durableTxn: fields.u64() }
  },
}

export const pongCodec: Codec<Pong> = {
  name: 'pong',
  bytesMin: 16,
  bytesMax: 16,
  write(fields, { token, durableTxn }) {
    fields.u64(token)
    fields.u64(durableTxn)
  },
  read(fields) {
    return { name: 'pong', token: fields.u64(), durableTxn: fields.u64() }
  },
}
