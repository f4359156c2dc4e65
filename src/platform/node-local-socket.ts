// Local sockets by node:net: Unix domain sockets. Their paths are limited to about 107 bytes by the system, and
// longer ones would be cut silently, so a long path is reached through an open handle of its directory.
import {
  chmodSync,
  closeSync,
  constants,
  lstat,
  lstatSync,
  openSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs'
import * as net from 'node:net'
import { basename, dirname, join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { systemHint } from './disk-error.ts'
import { type LocalListener, type LocalSockets } from './local-socket.ts'
import { type Connection, type ConnectionEvents } from './network.ts'

/** What fits sun_path everywhere (Linux 107, macOS and the BSDs 103). */
const pathBytesMax = 103

/** A path that the system takes, good until `release`. */
export interface ShortPath {
  readonly path: string
  release(): void
}

export const nodeLocalSockets: LocalSockets = {
  listen: (path, accept) =>
    listenAt(
      path,
      net.createServer(socket => accept(new SocketConnection(socket))),
    ),

  connect(path) {
    return new Promise((resolve, reject) => {
      const gone = (error: unknown) => {
        // Reset: the listener was closed before it took the connection.
        const codes = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'ENOTDIR', 'ENOTSOCK']
        if (hasCode(error, ...codes)) resolve(null)
        else reject(socketError(error as Error, 'connect to', path))
      }
      let short: ShortPath
      try {
        short = socketPath(path)
      } catch (error) {
        return gone(error)
      }
      const socket = net.connect(short.path)
      socket.once('connect', () => {
        short.release()
        socket.removeAllListeners('error')
        resolve(new SocketConnection(socket))
      })
      socket.once('error', error => {
        short.release()
        gone(error)
      })
    })
  },
}

/** See LocalSockets.listen: `server` takes the connections. */
export function listenAt(path: string, server: net.Server): Promise<LocalListener> {
  return new Promise((resolve, reject) => {
    let short: ShortPath
    try {
      short = shorten(path)
    } catch (error) {
      return reject(socketError(error as Error, 'listen at', path))
    }
    const failed = (error: Error) => {
      short.release()
      reject(socketError(error, 'listen at', path))
    }
    server.once('error', failed)
    try {
      makeWay(short.path)
    } catch (error) {
      return failed(error as Error)
    }
    // The socket's mode comes from the umask, and bind happens within listen: there is no moment at which
    // others could connect. Other threads make files and directories meanwhile: their owner keeps all rights.
    const umask = process.umask(0o077)
    try {
      server.listen(short.path)
      chmodSync(short.path, 0o600)
    } catch (error) {
      // A socket that is not there says so itself.
      if (!hasCode(error, 'ENOENT')) failed(error as Error)
    } finally {
      process.umask(umask)
    }
    server.once('listening', () => {
      server.removeListener('error', failed)
      server.on('error', () => {}) // A connection that could not be accepted is the peer's affair.
      const close = () =>
        new Promise<void>(closed => {
          server.close(() => {
            short.release()
            closed()
          })
        })
      let bound: string
      try {
        bound = socketIdentity(lstatSync(short.path, { bigint: true }))
      } catch {
        bound = ''
      }
      resolve({ close, isThere: () => leadsTo(path, bound) })
    })
  })
}

/** Removes what is there; a directory that holds something is moved aside. */
function makeWay(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return
    // Linux says EISDIR, POSIX EPERM.
    if (!hasCode(error, 'EISDIR', 'EPERM')) throw error
    try {
      rmdirSync(path)
    } catch {
      renameSync(path, `${path}.aside`)
    }
  }
}

/** `bound`: the identity of the socket that is to be at `path`. */
function leadsTo(path: string, bound: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    lstat(path, { bigint: true }, (error, found) => {
      if (error === null) resolve(socketIdentity(found) === bound)
      else if (hasCode(error, 'ENOENT', 'ENOTDIR')) resolve(false)
      else reject(socketError(error, 'look at', path))
    })
  })
}

/** The number of an inode is given to the next file, so the time at which it was made belongs to it. */
function socketIdentity({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev} ${ino} ${birthtimeNs}`
}

/** Where a socket can be connected to: not through a symbolic link, which leads to another server's. */
export function socketPath(path: string): ShortPath {
  const short = shorten(path)
  if (lstatSync(short.path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return short
  short.release()
  throw Object.assign(new Error(`${path} is a symbolic link`), { code: 'ENOTSOCK' })
}

/** Throws the system's error when the directory is not there. */
function shorten(path: string): ShortPath {
  if (Buffer.byteLength(path) <= pathBytesMax) return { path, release: () => {} }
  if (process.platform !== 'linux') {
    const message = `${path} is too long for a socket: at most ${pathBytesMax} bytes`
    const hint = 'Use a shorter path for the directory of the server.'
    throw new HotBackupError('ERR_DISK', message, { path }, undefined, hint)
  }
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  return {
    path: join('/proc/self/fd', String(directory), basename(path)),
    release: () => closeSync(directory),
  }
}

class SocketConnection implements Connection {
  readonly remoteAddress = 'local'
  readonly #socket: net.Socket
  #error: Error | null = null

  constructor(socket: net.Socket) {
    this.#socket = socket
    // A paused socket does not notice that the peer has gone; that is what reading the end is for.
    socket.pause()
    socket.on('error', error => {
      this.#error = error
    })
  }

  listen(events: ConnectionEvents): void {
    const socket = this.#socket
    socket.on('data', (bytes: Buffer) => events.data(bytes))
    socket.on('drain', () => events.drained())
    socket.once('close', () => events.closed(this.#error))
    if (socket.destroyed) queueMicrotask(() => events.closed(this.#error))
    else socket.resume()
  }

  write(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes)
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  end(): void {
    this.#socket.end()
  }

  destroy(error?: Error): void {
    this.#socket.destroy(error)
  }
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code !== undefined && codes.includes(code)
}

function socketError(error: Error, operation: string, path: string): HotBackupError {
  return new HotBackupError(
    'ERR_DISK',
    `cannot ${operation} ${path}: ${error.message}`,
    { path },
    error,
    systemHint(error),
  )
}
