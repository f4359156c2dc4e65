// What the shipper must know of its own log: what HELLO says about it, and whether a slave's position lies on it.
// It reads files that another process writes and removes; nothing is locked.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { hex, sameIdentity, type LogPosition } from '../log/chain.ts'
import { readDurableState, type DurableMark } from '../log/durable.ts'
import type { History, Timeline } from '../log/fork.ts'
import { readPiece } from '../log/pieces.ts'
import { LogReader } from '../log/reader.ts'
import {
  identityBytes,
  segmentHeaderBytes,
  segmentName,
  type SegmentHeader,
} from '../log/segment.ts'
import { checkName, readSegmentHeader, segmentFiles, wasRemoved } from '../log/segments.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { answerLog } from '../wire/answer-log.ts'
import type { Hello } from '../wire/messages/hello.ts'
import type { AskLog } from '../wire/messages/log-piece.ts'
import type { Welcome } from '../wire/messages/welcome.ts'
import { positionText } from '../wire/position-text.ts'

const emptyIdentity = new Uint8Array(identityBytes)

export class OwnLog {
  readonly #disk: Disk
  readonly #directory: string

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  /** The part of HELLO that is about the log. Throws ERR_LOG_CORRUPT, ERR_LOG_VERSION or ERR_DISK. */
  async describe(
    mark: DurableMark,
  ): Promise<Pick<Hello, 'databaseId' | 'lineageId' | 'timeline' | 'firstTxn' | 'durable'>> {
    const { databaseId, lineageId, timeline } = await this.#headerAt(mark)
    const [firstTxn = mark.segmentFirstTxn] = await this.#firstTxns()
    const durable = { txn: mark.txn, chain: mark.chain }
    return { databaseId, lineageId, timeline, firstTxn, durable }
  }

  /** The mark of a log that has begun and holds no transaction yet; null when there is none, or it holds some. */
  async begun(): Promise<DurableMark | null> {
    const { mark, damaged } = await readDurableState(this.#disk, this.#directory)
    const [first, ...more] = await this.#firstTxns()
    if (mark !== null || damaged || first !== 1 || more.length > 0) return null
    const { chain, created } = await this.#header(first)
    return { txn: 0, chain, segmentFirstTxn: first, offset: segmentHeaderBytes, time: created }
  }

  /** Answers a slave whose own log is damaged. */
  answer(channel: Parameters<typeof answerLog>[1], question: AskLog): Promise<void> {
    return answerLog(asked => readPiece(this.#disk, this.#directory, asked), channel, question)
  }

  /** The timelines in the log, and its end. Throws ERR_LOG_CORRUPT, ERR_LOG_VERSION or ERR_DISK. */
  async history(mark: DurableMark): Promise<History> {
    const timelines: Timeline[] = []
    for (const first of await this.#firstTxns()) {
      const { lineageId, timeline, firstTxn, chain } = await this.#header(first)
      const before = timelines.at(-1)
      if (before !== undefined && sameIdentity(before.lineageId, lineageId)) continue
      timelines.push({ lineageId, timeline, firstTxn, chain })
    }
    return { timelines, end: { txn: mark.txn, chain: mark.chain } }
  }

  /**
   * Finds where the slave's log ends in this log, and a reader that goes on behind it. When it cannot be found the
   * slave is refused, never touched, with both positions in the text:
   *
   *   ERR_LINK_FOREIGN   the slave holds another database
   *   ERR_LINK_DIVERGED  the slave holds more than this log, or something else at its position
   *   ERR_LINK_SEED      this log no longer holds what the slave needs next
   *
   * Throws ERR_LOG_CORRUPT and ERR_DISK too.
   */
  async locate(welcome: Welcome, mark: DurableMark): Promise<LogReader> {
    const header = await this.#headerAt(mark)
    const { position } = welcome
    const slave = slaveText(welcome)
    const fresh = sameIdentity(welcome.databaseId, emptyIdentity)
    if (!fresh && !sameIdentity(welcome.databaseId, header.databaseId)) {
      const theirs = Buffer.from(welcome.databaseId).toString('hex')
      const ours = Buffer.from(header.databaseId).toString('hex')
      const text = `${slave} of database ${theirs}; this log holds ${positionText(mark)} of database ${ours}`
      throw new HotBackupError('ERR_LINK_FOREIGN', text)
    }
    if (position.txn > mark.txn) {
      const text = `${slave}, but this log is durable up to ${positionText(mark)} only: the master's log went back. The slave is left as it is`
      throw new HotBackupError('ERR_LINK_DIVERGED', text)
    }
    if (!fresh) await this.#checkLineage(welcome, slave)
    return await this.open(welcome, mark)
  }

  /** A reader behind the slave's position, by its chain value alone. Throws as `locate` does. */
  async open(welcome: Welcome, mark: DurableMark): Promise<LogReader> {
    const { position } = welcome
    const slave = slaveText(welcome)
    try {
      await this.#checkStart(position)
      return await LogReader.open(this.#disk, this.#directory, position)
    } catch (error) {
      if (isHotBackupError(error, 'ERR_LOG_REMOVED')) {
        const [firstTxn = 0] = await this.#firstTxns()
        const text = `${slave}; this log starts with transaction ${firstTxn} and ends with ${positionText(mark)}: the slave needs a new copy of the database`
        throw new HotBackupError('ERR_LINK_SEED', text, {}, error)
      }
      if (isHotBackupError(error, 'ERR_LOG_FOREIGN', 'ERR_LOG_GAP')) {
        const text = `${slave}; this log ends with ${positionText(mark)} and says: ${error.message}`
        throw new HotBackupError('ERR_LINK_DIVERGED', text, {}, error)
      }
      throw error
    }
  }

  /** At the very start of the log the header says what it continues; the reader would look at it only later. */
  async #checkStart(position: LogPosition): Promise<void> {
    const [first] = await this.#firstTxns()
    if (first !== position.txn + 1) return
    const { chain } = await this.#header(first)
    if (chain === position.chain) return
    const text = `transaction ${position.txn} has the chain value ${hex(chain)} here, and ${hex(position.chain)} there`
    throw new HotBackupError('ERR_LOG_FOREIGN', text)
  }

  /**
   * Two servers that were promoted independently differ in lineage. The slave names that of its last segment, which
   * holds its position, or is empty and starts right behind it. Empty, it may be of a master that was over before
   * anything had come of it: where a later timeline begins here, the chain value alone says whether the slave follows.
   */
  async #checkLineage(welcome: Welcome, slave: string): Promise<void> {
    const { position, lineageId, timeline } = welcome
    const firstTxns = await this.#firstTxns()
    const holding = firstTxns.findLast(first => first <= position.txn)
    // The segment was removed: what is left is the chain value (see `open`).
    if (holding === undefined) return
    const headers = [await this.#header(holding)]
    if (firstTxns.includes(position.txn + 1)) headers.push(await this.#header(position.txn + 1))
    if (headers.some(header => sameIdentity(header.lineageId, lineageId))) return
    const [ours, next] = headers
    if (next !== undefined && next.timeline > timeline) return
    const text = `${slave} on timeline ${timeline}, lineage ${Buffer.from(lineageId).toString('hex')}; this log holds that number on timeline ${ours?.timeline}, lineage ${Buffer.from(ours?.lineageId ?? []).toString('hex')}: the histories diverged`
    throw new HotBackupError('ERR_LINK_DIVERGED', text)
  }

  async #firstTxns(): Promise<number[]> {
    const files = await segmentFiles(this.#disk, this.#directory)
    return files.map(file => file.firstTxn)
  }

  /** Of the segment in which the log ends; where that was removed, of the new one without blocks behind it. */
  async #headerAt({ segmentFirstTxn, txn }: DurableMark): Promise<SegmentHeader> {
    const [first] = await this.#firstTxns()
    return this.#header(first === txn + 1 ? first : segmentFirstTxn)
  }

  async #header(firstTxn: number): Promise<SegmentHeader> {
    const path = join(this.#directory, segmentName(firstTxn))
    let file
    try {
      file = await this.#disk.open(path, 'read')
    } catch (error) {
      if (!isNotFound(error)) throw error
      const place = { path, offset: 0, txn: firstTxn }
      const removed = await wasRemoved(this.#disk, this.#directory, { firstTxn })
      throw removed
        ? new HotBackupError('ERR_LOG_REMOVED', `${path} has been removed`, place, error)
        : new HotBackupError('ERR_LOG_CORRUPT', `${path} is missing`, place, error)
    }
    try {
      const { header } = await readSegmentHeader(file)
      checkName(path, firstTxn, header)
      return header
    } finally {
      await file.close()
    }
  }
}

function slaveText({ serverName, position }: Welcome): string {
  return `the slave "${serverName}" holds ${positionText(position)}`
}
