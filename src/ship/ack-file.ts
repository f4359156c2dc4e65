// slaves/NAME.ack: what a slave has acknowledged last. The shipper writes it; the master's retention, the opening
// of its log and "hb status" read it.
//
// ACK FILE, 72 bytes, little-endian
//
//    0  magic           u32       "HBAK" = 0x4b414248
//    4  CRC-32          u32       of bytes 8 to 71
//    8  format version  u16       1
//   10  length          u16       72
//   12  durable chain   u32       CRC-32 of the block that ends with the durable transaction
//   16  received txn    u64
//   24  durable txn     u64
//   32  applied txn     u64
//   40  applied time    u64       the master's wall clock in the block of that transaction, ms since 1970
//   48  time            u64       when the ack came, ms since 1970
//   56  slave id        16 bytes  the slave's server id
//
// The file is written in place and not synced: an older ack after a power failure only keeps a segment for longer.
// One that cannot be read counts as none. It never goes back, except when the slave itself says at the start of a
// stream that it holds less: it was given a new copy of the database. Only a slave whose position was found in
// this log with the same chain value gets that far.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { crc32 } from '../log/crc.ts'
import { identityBytes } from '../log/segment.ts'
import { readFile } from '../platform/atomic-file.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import { FieldReader, FieldWriter } from '../wire/fields.ts'
import type { Progress } from '../wire/messages/ack.ts'

/** How far a slave has got with a transaction: each includes the one before it. */
export type AckLevel = 'received' | 'durable' | 'applied'
export const ackLevels: readonly AckLevel[] = ['received', 'durable', 'applied']

export interface SlaveAck {
  readonly receivedTxn: number
  readonly durableTxn: number
  readonly durableChain: number
  readonly appliedTxn: number
  /** Wall-clock milliseconds by the master's clock; 0 when nothing was applied. */
  readonly appliedTime: number
  /** When the ack came; wall-clock milliseconds. */
  readonly time: number
  readonly serverId: Uint8Array
}

/** What a slave says of itself, as it is kept. `time`: when it came; wall-clock milliseconds. */
export function ackOf(serverId: Uint8Array, progress: Progress, time: number): SlaveAck {
  const { receivedTxn, durable, appliedTxn, appliedTime } = progress
  const { txn: durableTxn, chain: durableChain } = durable
  return { receivedTxn, durableTxn, durableChain, appliedTxn, appliedTime, time, serverId }
}

const ackMagic = 0x4b414248
const ackVersion = 1
export const ackBytes = 72
const ackSuffix = '.ack'
/** A reader that meets the writer in the middle of a write looks again; twice in a row is not chance. */
const readAttempts = 3

/** Where the ack of a slave lies. */
export function ackPath(directory: string, slave: string): string {
  return join(directory, slave + ackSuffix)
}

/** The last transaction with which the slave has got so far. */
export function ackReach(ack: SlaveAck, level: AckLevel): number {
  return { received: ack.receivedTxn, durable: ack.durableTxn, applied: ack.appliedTxn }[level]
}

/** The last ack of a slave; null when there is none that can be read. Throws ERR_DISK. */
export async function readAck(
  disk: Disk,
  directory: string,
  slave: string,
): Promise<SlaveAck | null> {
  for (let attempt = 0; attempt < readAttempts; attempt++) {
    const bytes = await readFile(disk, ackPath(directory, slave), ackBytes)
    if (bytes === null) return null
    const ack = decodeAck(bytes)
    if (ack !== null) return ack
  }
  return null
}

/** The acks of all slaves that have one, sorted by name. Throws ERR_DISK. */
export async function listAcks(
  disk: Disk,
  directory: string,
): Promise<(SlaveAck & { readonly slave: string })[]> {
  const acks = []
  for (const { name } of await disk.list(directory)) {
    if (!name.endsWith(ackSuffix)) continue
    const slave = name.slice(0, -ackSuffix.length)
    const ack = await readAck(disk, directory, slave)
    if (ack !== null) acks.push({ ...ack, slave })
  }
  return acks
}

/** The one writer of a slave's file. Acks that come while one is being written are replaced by the newest. */
export class AckFile {
  readonly #file: DiskFile
  readonly #failed: (error: HotBackupError) => void
  #last: SlaveAck | null
  #waiting: SlaveAck | null = null
  #writing: Promise<void> | null = null

  private constructor(
    file: DiskFile,
    last: SlaveAck | null,
    failed: (error: HotBackupError) => void,
  ) {
    this.#file = file
    this.#last = last
    this.#failed = failed
  }

  /**
   * Opens or makes the file; the directory must exist. `failed` hears of writes that did not work; the next ack
   * tries again. Throws ERR_DISK or ERR_DISK_FULL.
   */
  static async open(
    disk: Disk,
    directory: string,
    slave: string,
    failed: (error: HotBackupError) => void,
  ): Promise<AckFile> {
    const last = await readAck(disk, directory, slave)
    const path = ackPath(directory, slave)
    const file = await disk.open(path, (await disk.exists(path)) ? 'write' : 'create')
    return new AckFile(file, last, failed)
  }

  /** The newest ack, written or not; null when there was none yet. */
  get last(): SlaveAck | null {
    return this.#last
  }

  write(ack: SlaveAck): void {
    this.#last = ack
    this.#waiting = ack
    this.#writing ??= this.#writeWaiting()
  }

  /** Resolves when what was written so far lies in the file; then closes it. */
  async close(): Promise<void> {
    await this.#writing
    await this.#file.close()
  }

  async #writeWaiting(): Promise<void> {
    while (this.#waiting !== null) {
      const bytes = encodeAck(this.#waiting)
      this.#waiting = null
      try {
        await this.#file.write(bytes, 0, bytes.length, 0)
      } catch (error) {
        if (!(error instanceof HotBackupError)) throw error
        this.#failed(error)
      }
    }
    this.#writing = null
  }
}

export function encodeAck(ack: SlaveAck): Buffer {
  const fields = new FieldWriter(ackBytes)
  fields.u32(ackMagic)
  fields.u32(0)
  fields.u16(ackVersion)
  fields.u16(ackBytes)
  fields.u32(ack.durableChain)
  fields.u64(ack.receivedTxn)
  fields.u64(ack.durableTxn)
  fields.u64(ack.appliedTxn)
  fields.u64(ack.appliedTime)
  fields.u64(ack.time)
  fields.identity(ack.serverId)
  fields.bytes.writeUInt32LE(crc32(fields.bytes, 8, ackBytes), 4)
  return fields.bytes
}

/** Null when the bytes are not a valid ack. */
export function decodeAck(bytes: Buffer): SlaveAck | null {
  if (bytes.length !== ackBytes || bytes.readUInt32LE(0) !== ackMagic) return null
  if (bytes.readUInt32LE(4) !== crc32(bytes, 8, ackBytes)) return null
  if (bytes.readUInt16LE(8) !== ackVersion) return null
  const fields = new FieldReader('ack file', bytes, 12, ackBytes)
  const durableChain = fields.u32()
  return {
    durableChain,
    receivedTxn: fields.u64(),
    durableTxn: fields.u64(),
    appliedTxn: fields.u64(),
    appliedTime: fields.u64(),
    time: fields.u64(),
    serverId: fields.raw(identityBytes),
  }
}
