// The stream from one START to the next, or to the end of the connection: reads run after run from the log as far
// as it is durable, and sends each verbatim while the window is open and the channel takes more.
import type { DurableMark } from '../log/durable.ts'
import type { BlockRun, LogReader } from '../log/reader.ts'
import type { Channel } from '../wire/channel.ts'
import { LagMeter } from './lag.ts'
import { SendWindow } from './window.ts'

export class RunStream {
  readonly #reader: LogReader
  readonly #channel: Channel
  readonly #mark: () => DurableMark | null
  readonly #failed: (error: unknown) => void
  readonly #window: SendWindow
  readonly #lag = new LagMeter()
  #sentTxn: number
  #pumping = false
  #closed = false

  /** Owns `reader`, which stands behind transaction `startTxn`. `failed` hears of an error in reading, once. */
  constructor(
    reader: LogReader,
    channel: Channel,
    startTxn: number,
    windowBytes: number,
    mark: () => DurableMark | null,
    failed: (error: unknown) => void,
  ) {
    this.#reader = reader
    this.#channel = channel
    this.#sentTxn = startTxn
    this.#window = new SendWindow(windowBytes)
    this.#mark = mark
    this.#failed = failed
  }

  get sentTxn(): number {
    return this.#sentTxn
  }
  get bytesInFlight(): number {
    return this.#window.bytesInFlight
  }
  /** The master's time of the oldest update that was sent and not applied; null when there is none. */
  get oldestTime(): number | null {
    return this.#lag.oldestTime
  }

  /** Something has changed that may let a run go out. */
  wake(): void {
    if (!this.#pumping && !this.#closed) void this.#pump()
  }

  acknowledged(receivedTxn: number, appliedTxn: number): void {
    this.#window.acknowledged(receivedTxn)
    this.#lag.applied(appliedTxn)
    this.wake()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#pumping) void this.#reader.close()
  }

  async #pump(): Promise<void> {
    this.#pumping = true
    try {
      while (!this.#closed && this.#window.open && this.#channel.writable) {
        const mark = this.#mark()
        if (mark === null || mark.txn <= this.#sentTxn) break
        const run = await this.#reader.next(mark)
        // The connection may have gone while it was being read.
        if (this.#closed || run === null) break
        this.#send(run, mark)
      }
    } catch (error) {
      if (!this.#closed) this.#failed(error)
    } finally {
      this.#pumping = false
      if (this.#closed) await this.#reader.close()
    }
  }

  #send(run: BlockRun, mark: DurableMark): void {
    if (run.segmentHeaderBytes !== null) {
      this.#channel.send({ name: 'segment', headerBytes: run.segmentHeaderBytes })
    }
    const bytes = run.bytes.subarray(run.start, run.end)
    const segmentFirstTxn = run.segment.firstTxn
    const head = { segmentFirstTxn, offset: run.segmentOffset, durableTxn: mark.txn }
    this.#channel.sendBlocks(head, bytes)
    this.#sentTxn = run.position.txn
    this.#window.sent(run.position.txn, bytes.length)
    this.#lag.sent(run.position.txn, run.time)
  }
}
