// A flood of strangers at a port: as many connections at a time as are asked for, each replaced as soon as it ends.
import * as net from 'node:net'
import * as tls from 'node:tls'

export type StrangerKind = 'silent' | 'garbage' | 'half a hello' | 'no key' | 'wrong key'

export interface Flood {
  /** Connections that were made so far. */
  readonly made: number
  stop(): void
}

/** `addresses`: of this machine, that they come from, in turn. `perSecond`: at most so many are begun. */
export function flood(
  port: number,
  kind: StrangerKind,
  { atOnce, addresses, perSecond }: { atOnce: number; addresses: number; perSecond?: number },
): Flood {
  const open = new Set<net.Socket>()
  let made = 0
  let stopped = false
  const begun = Date.now()
  const another = () => {
    if (stopped) return
    // 127.0.0.1, or one of 127.0.1.1 and so on: all of 127/8 is this machine.
    const number = made % addresses
    const localAddress = number === 0 ? '127.0.0.1' : `127.1.${number >> 8}.${number & 255}`
    const socket = stranger({ port, host: '127.0.0.1', localAddress }, kind)
    made++
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      open.delete(socket)
    })
    socket.resume()
  }
  const fill = () => {
    const due = perSecond === undefined ? Infinity : ((Date.now() - begun) * perSecond) / 1000
    // A few at a time, so that the rest of this process has its turn.
    for (let count = 0; count < 50 && open.size < atOnce && made < due; count++) another()
    if (!stopped) setImmediate(fill)
  }
  fill()
  return {
    get made() {
      return made
    },
    stop() {
      stopped = true
      for (const socket of open) socket.destroy()
    },
  }
}

function stranger(to: net.TcpNetConnectOpts, kind: StrangerKind): net.Socket {
  const anyCertificate = { ...to, rejectUnauthorized: false, minVersion: 'TLSv1.3' } as const
  if (kind === 'no key') return tls.connect(anyCertificate)
  if (kind === 'wrong key') {
    const psk = Buffer.alloc(32, 7)
    return tls.connect({
      ...anyCertificate,
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => ({ psk, identity: 'hotbackup' }),
    })
  }
  const socket = net.connect(to)
  if (kind === 'garbage') socket.write('GET / HTTP/1.1\r\n\r\n')
  if (kind === 'half a hello') socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252]))
  return socket
}
