// slaves/NAME.ack: what a slave has acknowledged last. The shipper is its only writer. What a reader may conclude
// from it is decided in confirmed.ts.
//
// ACK FILE, 112 bytes, little-endian
//
//    0  magic           u32       "HBAK" = 0x4b414248
//    4  CRC-32          u32       of bytes 8 to 111
//    8  format version  u16       1
//   10  length          u16       112
//   12  durable chain   u32       CRC-32 of the block that ends with the durable transaction
//   16  received txn    u64
//   24  durable txn     u64
//   32  applied txn     u64
//   40  applied time    u64       the master's wall clock in the block of that transaction, ms since 1970
//   48  time            u64       when the ack came, ms since 1970
//   56  slave id        16 bytes  the slave's server id
//   72  database id     16 bytes  of the master's log
//   88  shipper id      16 bytes  the process that wrote the file (shipperIdOf)
//  104  flags           u32       bit 0: confirmed, see below
//  108  reserved        u32       0
//
// "Confirmed" means: the connection over which the slave acknowledged these positions is open, and at its start the
// slave's log was found to continue this log. The shipper clears the flag when that connection ends, and before it
// calls for the first time; the positions stay, as a retention floor. They go back only when the slave itself reports
// that it holds less: it was restored from an older save, or set up anew.
//
// The file is written in place. Positions that go on are not synced: an older ack after a power failure only keeps a
// segment for longer. Positions that go back are synced, so that no segment is removed that the slave needs again.
// A file that cannot be read as an ack counts as none.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { historyStart, sameIdentity, type LogPosition } from '../log/chain.ts'
import { crc32 } from '../log/crc.ts'
import { identityBytes } from '../log/segment.ts'
import { openState, readState, removeState } from '../platform/atomic-file.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import { FieldReader, FieldWriter } from '../wire/fields.ts'
import type { Progress } from '../wire/messages/ack.ts'
import { isServerName } from '../wire/server-name.ts'

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
  readonly databaseId: Uint8Array
  readonly shipperId: Uint8Array
  /** The connection over which the slave acknowledged this was open when the shipper wrote it. */
  readonly confirmed: boolean
}

/** The ids that belong to the positions of an ack. */
export type AckIds = Pick<SlaveAck, 'serverId' | 'databaseId' | 'shipperId'>

/** What a slave reports of itself over an open connection. `time`: when it came; wall-clock milliseconds. */
export function confirmedBy(ids: AckIds, progress: Progress, time: number): SlaveAck {
  const { receivedTxn, durable, appliedTxn, appliedTime } = progress
  const { txn: durableTxn, chain: durableChain } = durable
  const positions = { receivedTxn, durableTxn, durableChain, appliedTxn, appliedTime }
  return { ...positions, time, ...ids, confirmed: true }
}

/** The slave holds no more than `position`. */
function loweredTo(ack: SlaveAck, { txn, chain }: LogPosition): SlaveAck {
  if (ack.receivedTxn <= txn) return ack
  const lowered = ack.durableTxn > txn
  return {
    ...ack,
    receivedTxn: txn,
    durableTxn: Math.min(ack.durableTxn, txn),
    durableChain: lowered ? chain : ack.durableChain,
    appliedTxn: Math.min(ack.appliedTxn, txn),
  }
}

const ackMagic = 0x4b414248
const ackVersion = 1
const confirmedFlag = 1
export const ackBytes = 112
const ackSuffix = '.ack'
/** A reader that meets the writer in the middle of a write looks again; twice in a row is not chance. */
const readAttempts = 3

/** Where the ack of a slave lies. */
export function ackPath(directory: string, slave: string): string {
  return join(directory, slave + ackSuffix)
}

/** The slave whose ack has that name; null when it is no ack's: others leave copies beside their files. */
export function slaveOfAck(name: string): string | null {
  const slave = name.endsWith(ackSuffix) ? name.slice(0, -ackSuffix.length) : ''
  return isServerName(slave) ? slave : null
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
    const bytes = await readState(disk, ackPath(directory, slave), ackBytes)
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
    const slave = slaveOfAck(name)
    if (slave === null) continue
    const ack = await readAck(disk, directory, slave)
    if (ack !== null) acks.push({ ...ack, slave })
  }
  return acks
}

/** Durably: this server's log is to become another one, and what slaves have of the old one says nothing of it. */
export async function removeAcks(disk: Disk, directory: string): Promise<void> {
  if (!(await disk.exists(directory))) return
  for (const { name } of await disk.list(directory)) {
    if (slaveOfAck(name) !== null) await removeState(disk, join(directory, name))
  }
  await disk.syncDirectory(directory)
}

/** `anew`: what lies there is no ack. It is the same file all the same: others may have it open. */
async function openToWrite(disk: Disk, path: string, anew: boolean): Promise<DiskFile> {
  const { file, made } = await openState(disk, path)
  if (made || !anew) return file
  try {
    await file.truncate(0)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The one writer of a slave's file. Acks that come while one is being written are replaced by the newest. */
export class AckFile {
  readonly #file: DiskFile
  readonly #failed: (error: HotBackupError) => void
  #last: SlaveAck | null
  /** Positions have gone back since the file was synced. */
  #wentBack = false
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
   * Opens or makes the file; the directory must exist. What an earlier process left there is confirmed no more when
   * this resolves. `failed` hears of later writes that did not work; the next ack tries again. Throws ERR_DISK or
   * ERR_DISK_FULL.
   */
  static async open(
    disk: Disk,
    directory: string,
    slave: string,
    failed: (error: HotBackupError) => void,
  ): Promise<AckFile> {
    const last = await readAck(disk, directory, slave)
    const file = await openToWrite(disk, ackPath(directory, slave), last === null)
    if (last?.confirmed !== true) return new AckFile(file, last, failed)
    const left = { ...last, confirmed: false }
    await file.write(encodeAck(left), 0, ackBytes, 0)
    return new AckFile(file, left, failed)
  }

  /** The newest ack, written or not; null when there was none yet. */
  get last(): SlaveAck | null {
    return this.#last
  }

  /** The connection has ended. */
  unconfirm(): void {
    if (this.#last?.confirmed === true) this.write({ ...this.#last, confirmed: false })
  }

  /** The slave reports the end of its log over a connection that comes to nothing: it holds no more than that. */
  lower(position: LogPosition): void {
    if (this.#last !== null) this.write({ ...loweredTo(this.#last, position), confirmed: false })
  }

  /** The log belongs to another database than the acks so far: they say nothing of it. */
  forget(databaseId: Uint8Array): void {
    const last = this.#last
    if (last === null || sameIdentity(last.databaseId, databaseId)) return
    this.lower(historyStart)
  }

  write(ack: SlaveAck): void {
    const last = this.#last
    if (last !== null && ack.durableTxn < last.durableTxn) this.#wentBack = true
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
        if (this.#wentBack) {
          this.#wentBack = false
          await this.#file.sync()
        }
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
  for (const id of [ack.serverId, ack.databaseId, ack.shipperId]) fields.identity(id)
  fields.u32(ack.confirmed ? confirmedFlag : 0)
  fields.u32(0)
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
    databaseId: fields.raw(identityBytes),
    shipperId: fields.raw(identityBytes),
    confirmed: (fields.u32() & confirmedFlag) !== 0,
  }
}
