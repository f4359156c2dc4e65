// The numbers of the wire protocol: versions, message types, and the frame around every message.
//
// FRAME HEADER, 16 bytes, little-endian
//
//    0  magic            u32  "HBMS" = 0x534d4248
//    4  type             u8   see MessageType
//    5  framing version  u8   1
//    6  reserved         u16  0
//    8  length           u32  of the payload, within the bounds of its type
//   12  CRC-32           u32  of bytes 0 to 11 and of the payload; of BLOCKS, of the first 24 bytes of the payload
//
// A message is believed if and only if (1) magic and framing version are these, (2) the type may come in this state
// of the session, (3) the length is possible for the type, and (4) the CRC matches. The first fault ends the
// connection.
//
// HELLO names the protocol versions that the master speaks, and the slave chooses one. Version 2 is version 1 with
// ASK-STATISTICS and STATISTICS, version 3 has ASK-LOG and LOG-PIECE as well, version 4 ASK-DIFFERENCES and
// DIFFERENCES, and version 5 ASK-REPAIR, REPAIRED, ASK-GROUP and GROUP-PIECE. The frame, the first four bytes of HELLO,
// and all of REFUSE are the same in every version, so that an unknown one can be refused in words.
// Any change here or in messages/ goes into man/hb-link.5 as well.
import { HotBackupError } from '../errors.ts'

export const messageMagic = 0x534d4248
export const framingVersion = 1
export const frameHeaderBytes = 16

export const protocolVersionMin = 1
export const protocolVersionMax = 5
/** The slave may be asked for its statistics. */
export const statisticsVersion = 2
/** The master may be asked for bytes of its log. */
export const askLogVersion = 3
/** The slave may be asked where it differs. */
export const differencesVersion = 4
/** Groups of the database that are damaged may be asked for. */
export const groupsVersion = 5
/** Of JOIN and PROMOTE, and of the WELCOME that answers PROMOTE: nothing is chosen there. */
export const askVersion = 1

export const MessageType = {
  hello: 1,
  welcome: 2,
  start: 3,
  refuse: 4,
  segment: 5,
  blocks: 6,
  ack: 7,
  rewind: 8,
  ping: 9,
  pong: 10,
  fence: 11,
  join: 12,
  history: 13,
  promote: 14,
  seed: 15,
  'seed-state': 16,
  'seed-image': 17,
  'seed-data': 18,
  'ask-statistics': 19,
  statistics: 20,
  'ask-log': 21,
  'log-piece': 22,
  'ask-differences': 23,
  differences: 24,
  'ask-repair': 25,
  repaired: 26,
  'ask-group': 27,
  'group-piece': 28,
} as const
export type MessageName = keyof typeof MessageType

/**
 * The newest version that both sides speak. Throws ERR_LINK_REFUSED with both ranges when there is none.
 */
export function chooseVersion(peer: { versionMin: number; versionMax: number }): number {
  const version = Math.min(peer.versionMax, protocolVersionMax)
  if (version < peer.versionMin || version < protocolVersionMin) {
    const theirs = versionRange(peer.versionMin, peer.versionMax)
    const ours = versionRange(protocolVersionMin, protocolVersionMax)
    throw new HotBackupError(
      'ERR_LINK_REFUSED',
      `the peer speaks protocol version ${theirs}, this program ${ours}`,
    )
  }
  return version
}

function versionRange(low: number, high: number): string {
  return low === high ? String(low) : `${low} to ${high}`
}

/** The type as errors and logs call it: 0x06 BLOCKS. */
export function typeText(type: number): string {
  const number = `0x${type.toString(16).padStart(2, '0')}`
  const name = messageNames.get(type)
  return name === undefined ? number : `${number} ${name.toUpperCase()}`
}

const messageNames = new Map(
  Object.entries(MessageType).map(([name, type]) => [type as number, name]),
)
