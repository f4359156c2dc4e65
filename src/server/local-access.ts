// The ways to a server's data when no process owns it: this one carries the operations out itself (see sessions.ts).
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'
import { localCaller, type Caller } from '../control/operation.ts'
import type { Platform } from '../platform/platform.ts'
import { FileReader } from './read-files.ts'

/** One way to the data. */
export interface Access extends Caller {
  /** The files are being read: a server that starts meanwhile changes them. */
  readonly files: boolean
  /** Only for a short time: what this opening has begun is brought to its end. */
  finish?(): Promise<void>
  close(): Promise<void>
}

/** Nothing is locked: a server that starts meanwhile changes what is read. */
export async function readFiles(
  platform: Platform,
  layout: Layout,
  config: Config,
): Promise<Access> {
  const reader = await FileReader.open(platform, layout, config)
  return { ...localCaller(reader.handlers), files: true, close: () => reader.close() }
}

/** Throws ERR_RUNNING when another process has the master open, and what opening it throws. */
export async function openMaster(platform: Platform, { directory }: Layout): Promise<Access> {
  // Loading it takes longer than most commands that only read.
  const { Master } = await import('./master.ts')
  // This opening is over before a helper would be.
  const master = await Master.open(directory, { platform, helpers: false })
  return {
    ...localCaller(master.handlers),
    files: false,
    finish: () => master.filled(),
    close: () => master.close(),
  }
}
