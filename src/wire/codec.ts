// What every message's codec offers. A codec knows its payload and nothing of frames, sessions or sockets.
import type { FieldReader, FieldWriter } from './fields.ts'
import type { MessageName } from './protocol.ts'

export interface Codec<M extends { readonly name: MessageName }> {
  readonly name: M['name']
  /** Bounds of the payload's length; checked before anything of it is kept or believed. */
  readonly bytesMin: number
  readonly bytesMax: number
  write(fields: FieldWriter, message: M): void
  /** Throws ERR_WIRE. What it returns shares no memory with the bytes that were read. */
  read(fields: FieldReader): M
}
