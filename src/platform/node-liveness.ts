// Proof of life by a socket: a process listens at a path for as long as it lives, and the kernel answers for it.
//
//   connected   a process of this kernel listens, even one that stands still
//   refused     the process that listened here has died; or the path is a copy of it, which never had a listener
//   absent      no socket at the path, so it proves nothing
//
// This holds across containers and whatever the clocks and names of machines do, but on one running kernel only:
// a socket on a file system that two machines share is refused on the other one.
import * as net from 'node:net'
import { listenAt, socketPath, type ShortPath } from './node-local-socket.ts'

export type ProofOfLife = 'connected' | 'refused' | 'absent'

export interface Liveness {
  /** Ends the proof and removes the socket. */
  end(): Promise<void>
}

/** Listens at `path`, in place of what was there; this keeps no process from ending. Throws ERR_DISK. */
export async function proveAlive(path: string): Promise<Liveness> {
  const server = net.createServer(socket => socket.destroy())
  const { close } = await listenAt(path, server)
  server.unref()
  return { end: close }
}

/** What the socket at `path` proves about the process that listened there. */
export function proofOfLife(path: string): Promise<ProofOfLife> {
  return new Promise(resolve => {
    let taken: ShortPath
    try {
      taken = socketPath(path)
    } catch {
      return resolve('absent')
    }
    const release = () => taken.release()
    const socket = net.connect(taken.path)
    socket.once('connect', () => {
      release()
      socket.destroy()
      resolve('connected')
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      release()
      if (error.code === 'ECONNREFUSED') resolve('refused')
      // A full queue of connections: there is a listener, and it stands still.
      else resolve(error.code === 'EAGAIN' ? 'connected' : 'absent')
    })
  })
}
