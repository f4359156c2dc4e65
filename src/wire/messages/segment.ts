// SEGMENT, master to slave: the blocks that follow lie in a new segment with this header.
//
//    0  header  96 bytes  as it lies in the master's file (hb-segment(5)); its own CRC is checked by the slave
import { segmentHeaderBytes } from '../../log/segment.ts'
import type { Codec } from '../codec.ts'

export interface SegmentStart {
  readonly name: 'segment'
  readonly headerBytes: Uint8Array
}

export const segmentCodec: Codec<SegmentStart> = {
  name: 'segment',
  bytesMin: segmentHeaderBytes,
  bytesMax: segmentHeaderBytes,
  write(fields, segment) {
    fields.raw(segment.headerBytes)
  },
  read(fields) {
    return { name: 'segment', headerBytes: fields.raw(segmentHeaderBytes) }
  },
}
