// Inputs by Node. Node takes what it cannot read for empty input: a directory, or a standard input that is closed,
// in whose place it opens /dev/null. An item must not become empty by that, so both are refused here; so is a
// terminal at which nothing is typed. "< /dev/null" is empty, and meant.
// Pipes are read without blocking a thread: a blocked one would keep the process from ending on a signal.
import * as fs from 'node:fs'
import { Socket } from 'node:net'
import * as tty from 'node:tty'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { diskError } from './disk-error.ts'
import type { Inputs } from './inputs.ts'

const pieceBytes = 1 * MiB
const standard = 0

/** Checked when it is first read. */
export const nodeStandardInput: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: readStandard }

async function* readStandard(): AsyncGenerator<Uint8Array, void, undefined> {
  const fault = standardFault()
  if (fault !== null) throw new HotBackupError('ERR_INPUT', `standard input ${fault}`)
  let typed = !tty.isatty(standard)
  try {
    for await (const piece of process.stdin as AsyncIterable<Uint8Array>) {
      typed = true
      yield piece
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new HotBackupError('ERR_INPUT', `cannot read standard input: ${reason}`, {}, error)
  }
  // A person who ends it at once, or a terminal that hangs up, has not said that the item is empty.
  if (!typed)
    throw new HotBackupError('ERR_INPUT', 'standard input is a terminal, and nothing was typed')
}

function standardFault(): string | null {
  const found = stateOf(standard)
  if (found === null) return 'is closed'
  if (found.isDirectory()) return 'is a directory'
  if (found.isBlockDevice()) return 'is a block device'
  // A socket that is no stream is empty for Node.
  if (found.isSocket() && !(process.stdin instanceof Socket)) return 'is not a stream'
  return isReopened(found) ? 'is closed' : null
}

function stateOf(descriptor: number): fs.Stats | null {
  try {
    return fs.fstatSync(descriptor)
  } catch {
    return null
  }
}

/** Node opens /dev/null for reading and writing where standard input is closed; "< /dev/null" is for reading alone. */
function isReopened(found: fs.Stats): boolean {
  try {
    if (fs.statSync('/dev/null').rdev !== found.rdev) return false
    fs.writeSync(standard, new Uint8Array())
    return true
  } catch {
    return false
  }
}

export const nodeInputs: Inputs = {
  async open(path) {
    const found = await stat(path)
    if (found.isDirectory()) {
      throw new HotBackupError('ERR_INPUT', `${path} is a directory`, { path })
    }
    if (isStandard(found)) return { bytes: null, pieces: nodeStandardInput }
    const descriptor = await openToRead(path)
    const bytes = found.isFile() ? found.size : null
    return { bytes, pieces: pieces(path, streamOf(descriptor, found)) }
  },
}

/** /dev/stdin, say: a socket cannot be opened by its path, and what a pipe holds would be read by two. */
function isStandard(found: fs.Stats): boolean {
  if (found.isFile()) return false
  const own = stateOf(standard)
  return own !== null && own.dev === found.dev && own.ino === found.ino
}

function stat(path: string): Promise<fs.Stats> {
  return new Promise((resolve, reject) => {
    fs.stat(path, (error, found) => {
      if (error === null) resolve(found)
      else reject(diskError(error, 'read', path))
    })
  })
}

/** A named pipe without a writer would block the thread that opens it. */
function openToRead(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK, (error, descriptor) => {
      if (error === null) resolve(descriptor)
      else reject(diskError(error, 'read', path))
    })
  })
}

function streamOf(descriptor: number, found: fs.Stats): NodeJS.ReadableStream {
  if (found.isFIFO()) return new Socket({ fd: descriptor, readable: true, writable: false })
  if (tty.isatty(descriptor)) return new tty.ReadStream(descriptor)
  return fs.createReadStream('', { fd: descriptor, highWaterMark: pieceBytes })
}

async function* pieces(
  path: string,
  stream: NodeJS.ReadableStream,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const piece of stream) yield typeof piece === 'string' ? Buffer.from(piece) : piece
  } catch (error) {
    throw diskError(error, 'read', path)
  }
}
