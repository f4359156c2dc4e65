// All messages of the protocol, and the bytes of each as they go over the network: frame header and payload.
import { crc32 } from '../log/crc.ts'
import type { Codec } from './codec.ts'
import { FieldWriter } from './fields.ts'
import { ackCodec, type Ack } from './messages/ack.ts'
import { writeBlocksHead, type Blocks, type BlocksHead } from './messages/blocks.ts'
import {
  askDifferencesCodec,
  differencesCodec,
  type AskDifferences,
  type DifferencesMessage,
} from './messages/differences.ts'
import { fenceCodec, type Fence } from './messages/fence.ts'
import { askGroupCodec, groupPieceCodec, type AskGroup, type GroupPiece } from './messages/group.ts'
import { helloCodec, type Hello } from './messages/hello.ts'
import { historyCodec, type HistoryMessage } from './messages/history.ts'
import { joinCodec, type Join } from './messages/join.ts'
import { askLogCodec, logPieceCodec, type AskLog, type LogPiece } from './messages/log-piece.ts'
import { askRepairCodec, repairedCodec, type AskRepair, type Repaired } from './messages/repair.ts'
import { pingCodec, pongCodec, type Ping, type Pong } from './messages/ping.ts'
import { promoteCodec, type Promote } from './messages/promote.ts'
import { refuseCodec, type Refuse } from './messages/refuse.ts'
import { rewindCodec, type Rewind } from './messages/rewind.ts'
import {
  seedCodec,
  seedDataCodec,
  seedImageCodec,
  seedStateCodec,
  type Seed,
  type SeedData,
  type SeedImage,
  type SeedState,
} from './messages/seed.ts'
import { segmentCodec, type SegmentStart } from './messages/segment.ts'
import { startCodec, type Start } from './messages/start.ts'
import {
  askStatisticsCodec,
  statisticsCodec,
  type AskStatistics,
  type Statistics,
} from './messages/statistics.ts'
import { welcomeCodec, type Welcome } from './messages/welcome.ts'
import {
  MessageType,
  frameHeaderBytes,
  framingVersion,
  messageMagic,
  type MessageName,
} from './protocol.ts'

/** The messages that are made and read in one piece: all but BLOCKS. */
export type SmallMessage =
  | Hello
  | Welcome
  | Start
  | Refuse
  | SegmentStart
  | Ack
  | Rewind
  | Ping
  | Pong
  | Fence
  | Join
  | HistoryMessage
  | Promote
  | Seed
  | SeedState
  | SeedImage
  | SeedData
  | AskStatistics
  | Statistics
  | AskLog
  | LogPiece
  | AskDifferences
  | DifferencesMessage
  | AskRepair
  | Repaired
  | AskGroup
  | GroupPiece
export type Message = SmallMessage | Blocks

type CodecTable = {
  readonly [M in SmallMessage as M['name']]: Codec<M>
}

const codecs: CodecTable = {
  hello: helloCodec,
  welcome: welcomeCodec,
  start: startCodec,
  refuse: refuseCodec,
  segment: segmentCodec,
  ack: ackCodec,
  rewind: rewindCodec,
  ping: pingCodec,
  pong: pongCodec,
  fence: fenceCodec,
  join: joinCodec,
  history: historyCodec,
  promote: promoteCodec,
  seed: seedCodec,
  'seed-state': seedStateCodec,
  'seed-image': seedImageCodec,
  'seed-data': seedDataCodec,
  'ask-statistics': askStatisticsCodec,
  statistics: statisticsCodec,
  'ask-log': askLogCodec,
  'log-piece': logPieceCodec,
  'ask-differences': askDifferencesCodec,
  differences: differencesCodec,
  'ask-repair': askRepairCodec,
  repaired: repairedCodec,
  'ask-group': askGroupCodec,
  'group-piece': groupPieceCodec,
}

/** Codecs by the type's number; no entry for BLOCKS. */
export const codecOfType: ReadonlyMap<number, Codec<SmallMessage>> = new Map(
  Object.values(codecs).map(codec => [MessageType[codec.name], codec as Codec<SmallMessage>]),
)

const lengths = Object.values(codecs).map(codec => codec.bytesMax)
/** Larger ones come only when both sides know each other. */
const lateBytesMin = 4096
/** The largest payload of a message that is read in one piece and may come early. */
export const smallBytesMax = Math.max(...lengths.filter(length => length < lateBytesMin))

// One scratch for all: encoding is synchronous, and the result is a copy of its own length.
const scratch = new FieldWriter(frameHeaderBytes + Math.max(...lengths))

export function encodeMessage(message: SmallMessage): Buffer {
  scratch.end = frameHeaderBytes
  // The table pairs each name with its codec; the compiler cannot follow the pair through an index.
  const codec = codecs[message.name] as Codec<SmallMessage>
  codec.write(scratch, message)
  if (scratch.end - frameHeaderBytes > codec.bytesMax)
    throw new TypeError('the message is too long')
  return framed(message.name, scratch.end - frameHeaderBytes)
}

/** What goes before a run of `runBytes` bytes. */
export function encodeBlocksHead(head: BlocksHead, runBytes: number): Buffer {
  scratch.end = frameHeaderBytes
  writeBlocksHead(scratch, head)
  return framed('blocks', scratch.end - frameHeaderBytes + runBytes)
}

/** Puts the header before the payload in the scratch. `length` may reach beyond the scratch (BLOCKS). */
function framed(name: MessageName, length: number): Buffer {
  const payloadEnd = scratch.end
  scratch.end = 0
  scratch.u32(messageMagic)
  scratch.u8(MessageType[name])
  scratch.u8(framingVersion)
  scratch.u16(0)
  scratch.u32(length)
  scratch.u32(frameCrc(scratch.bytes, 0, payloadEnd))
  return Buffer.from(scratch.bytes.subarray(0, payloadEnd))
}

/** The CRC-32 of the frame that starts at `start`, its payload up to `payloadEnd`. */
export function frameCrc(bytes: Uint8Array, start: number, payloadEnd: number): number {
  const header = crc32(bytes, start, start + 12)
  return crc32(bytes, start + frameHeaderBytes, payloadEnd, header)
}
