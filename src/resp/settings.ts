// What can be set about the door, by hb.toml and, where that makes sense, by CONFIG SET.
import { KiB, MiB } from '../limits.ts'

export interface Settings {
  /** Databases that SELECT knows. */
  databases: number
  /** Connections at once. */
  maxClients: number
  /** A client that says nothing for so long is disconnected; 0: never. */
  idleMs: number
  /** A client whose replies take more than this is disconnected. */
  outputBytesMax: number
  /** Commands that take longer go to the slow log; -1: none. */
  slowlogMicros: number
  slowlogLength: number
  /** FLUSHALL is allowed. */
  flushAll: boolean
}

export const defaultSettings: Settings = {
  databases: 16,
  maxClients: 1000,
  idleMs: 0,
  outputBytesMax: 256 * MiB,
  slowlogMicros: 10_000,
  slowlogLength: 128,
  flushAll: false,
}

/** A client with more replies under way has no further commands executed until it has read some. */
export const outputBytesMark = 1 * MiB
/** A client that does not read what is sent to it for so long is disconnected. */
export const outputStallMs = 60_000
/** What is taken from a client that waits for something, before it is read from no more. */
export const inputBytesMark = 128 * KiB
