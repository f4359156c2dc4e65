// What the tests of the log share: a clock that is moved by hand, small histories, and a reader of everything.
import { HotBackupError, type ErrorCode } from '../../src/errors.ts'
import { historyStart, type LogPosition } from '../../src/log/chain.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { LogReader } from '../../src/log/reader.ts'
import { RecordCursor, recordTypeNames } from '../../src/log/record.ts'
import { TransactionCursor, type Blocks } from '../../src/log/transactions.ts'
import type { LogIdentity, LogOptions } from '../../src/log/options.ts'
import { LogWriter } from '../../src/log/writer.ts'
import type { Clock, Timer } from '../../src/platform/clock.ts'
import type { Disk } from '../../src/platform/disk.ts'

export const logDirectory = '/server/log'
export const attributes = { account: 'SALES', file: 'ORDERS', modulo: 7 }

export const identity: LogIdentity = {
  databaseId: new Uint8Array(16).fill(0xdb),
  lineageId: new Uint8Array(16).fill(0x11),
  timeline: 1,
}

/** Stands still until it is moved; then the timers that are due call back. */
export class HandClock implements Clock {
  #now = 1_700_000_000_000
  #timers: { due: number; callback: () => void }[] = []

  now(): number {
    return this.#now
  }
  monotonic(): number {
    return this.#now
  }
  nextTurn(callback: () => void): void {
    setImmediate(callback)
  }
  after(delayMs: number, callback: () => void): Timer {
    const timer = { due: this.#now + delayMs, callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter(other => other !== timer)
      },
    }
  }
  get timers(): number {
    return this.#timers.length
  }
  move(ms: number): void {
    this.#now += ms
    const due = this.#timers.filter(timer => timer.due <= this.#now)
    this.#timers = this.#timers.filter(timer => timer.due > this.#now)
    for (const timer of due) timer.callback()
  }
}

export interface LogSetting extends Partial<LogOptions> {
  readonly disk: Disk
  readonly clock?: Clock
  readonly directory?: string
}

/** A small log: segments of 2 KiB unless told otherwise. */
export async function openLog(setting: LogSetting): Promise<LogWriter> {
  const { disk, clock = new HandClock(), directory = logDirectory, ...options } = setting
  return LogWriter.open({ disk, clock }, directory, {
    fsync: { kind: 'commit' },
    segmentBytes: 2048,
    knownDurableTxn: 0,
    ownPromises: true,
    ...options,
  })
}

/** The same with a history. */
export async function openHistory(setting: LogSetting): Promise<LogWriter> {
  const log = await openLog(setting)
  if (log.identity === null) await log.beginHistory(identity)
  return log
}

/** Commits one transaction that writes the items; returns it as `readAll` shows it. */
export function commit(log: LogWriter, ...items: readonly (readonly [string, string])[]): string {
  const encoder = log.begin()
  log.ensureMapped(1, attributes)
  for (const [id, value] of items) encoder.writeItem(1, id, value)
  const txn = log.commit()
  return `${txn}: ${items.map(([id, value]) => `${id}=${value}`).join(' ')}`
}

/** `count` transactions, each durable, in a block of its own. */
export async function commitEach(log: LogWriter, count: number, bytes = 20): Promise<string[]> {
  const written: string[] = []
  for (let i = 0; i < count; i++) {
    written.push(commit(log, [`item-${log.lastTxn + 1}`, 'v'.repeat(bytes)]))
    await log.synced()
  }
  return written
}

const records = new RecordCursor()

/** The transactions in whole blocks, without their map-file records. */
export function show(run: Blocks, shown: string[] = []): string[] {
  const cursor = new TransactionCursor()
  cursor.reset(run)
  while (cursor.next()) {
    const parts: string[] = []
    records.reset(run.bytes, cursor.start, cursor.end)
    while (records.next()) {
      const name = recordTypeNames[records.type]
      if (name === 'map-file') continue
      const value = Buffer.from(run.bytes).toString('utf8', records.valueStart, records.valueEnd)
      parts.push(name === 'write-item' ? `${records.idText()}=${value}` : name)
    }
    shown.push(`${cursor.txn}: ${parts.join(' ')}`)
  }
  return shown
}

/** Everything in the log behind `from` up to its durable mark. */
export async function readAll(
  disk: Disk,
  directory = logDirectory,
  from: LogPosition = historyStart,
): Promise<string[]> {
  const shown: string[] = []
  const mark = await readDurableMark(disk, directory)
  if (mark === null) return shown
  const reader = await LogReader.open(disk, directory, from)
  try {
    for (;;) {
      const run = await reader.next(mark)
      if (run === null) return shown
      show(run, shown)
    }
  } finally {
    await reader.close()
  }
}

/** The error that the promise rejects with, which must have one of the codes. */
export async function failure(
  promise: Promise<unknown>,
  ...codes: ErrorCode[]
): Promise<HotBackupError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof HotBackupError && codes.includes(error.code)) return error
    throw error
  }
  throw new Error(`expected ${codes.join(' or ')}, but there was no error`)
}

/** A generator of numbers from 0 to 1, the same for the same seed. */
export function seeded(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
