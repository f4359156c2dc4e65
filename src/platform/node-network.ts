// The network by node:net and node:tls. With a key it is TLS 1.3 with that pre-shared key and an ephemeral
// X25519 exchange: both sides prove the key, no certificate is involved, and a key that is stolen later opens
// nothing that was recorded before. AES-128-GCM is what OpenSSL allows for a bare key (it implies SHA-256),
// and the fastest on processors with AES instructions. Strangers can neither take the places of those who have the
// key nor much memory: node-admission.ts.
import * as net from 'node:net'
import type * as Tls from 'node:tls'
import { HotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { Admission } from './node-admission.ts'
import {
  addressText,
  type Address,
  type Connection,
  type ConnectionEvents,
  type Listener,
  type ListenOptions,
  type Network,
  type SharedKey,
} from './network.ts'

/** Output queued above this makes `write` answer false. */
const pendingBytesMark = 1024 * KiB
/** Names the kind of key, for versions to come that know several; no secret. */
const keyIdentity = 'hotbackup'
const tlsOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
} as const

class NodeConnection implements Connection {
  readonly remoteAddress: string
  readonly #socket: net.Socket
  #events: ConnectionEvents | null = null
  #error: Error | null = null
  #closed = false

  constructor(socket: net.Socket) {
    this.#socket = socket
    // An IPv4 peer of a socket for both kinds comes as ::ffff:192.0.2.7.
    const host = (socket.remoteAddress ?? '?').replace(/^::ffff:(?=\d+\.)/i, '')
    this.remoteAddress = addressText({ host, port: socket.remotePort ?? 0 })
    // A transaction that is waited for must not wait for a full packet.
    socket.setNoDelay(true)
    // Until somebody listens, the socket reads no more than its buffer holds.
    socket.on('error', error => {
      this.#error ??= error
    })
    socket.on('close', () => {
      this.#closed = true
      this.#events?.closed(this.#error)
    })
    socket.on('drain', () => this.#events?.drained())
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  listen(events: ConnectionEvents): void {
    if (this.#events !== null) throw new TypeError('this connection has a listener already')
    this.#events = events
    // Attached last: `data` makes the socket flow.
    if (this.#closed) process.nextTick(() => events.closed(this.#error))
    else this.#socket.on('data', (bytes: Buffer) => events.data(bytes)).resume()
  }

  write(bytes: Uint8Array): boolean {
    if (this.#socket.destroyed || this.#socket.writableEnded) return true
    // Above our mark the socket is above its own, lower one: `drain` follows.
    this.#socket.write(bytes)
    return this.#socket.writableLength < pendingBytesMark
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

export const nodeNetwork: Network = { connect, listen, listenPlain }

/**
 * Throws ERR_CONNECT when nothing answers there, ERR_WIRE_TIMEOUT when it takes longer than `timeoutMs`, ERR_KEY
 * when the peer has another key, ERR_WIRE when it does not speak TLS at all.
 */
async function connect(
  address: Address,
  key: SharedKey | null,
  timeoutMs: number,
): Promise<Connection> {
  const tls = await import('node:tls')
  const { host, port } = address
  const where = addressText(address)
  return new Promise((resolve, reject) => {
    const socket =
      key === null
        ? net.connect({ host, port })
        : tls.connect({
            host,
            port,
            ...tlsOptions,
            pskCallback: () => ({ psk: key.bytes, identity: keyIdentity }),
            // Asked only about a peer that shows a certificate instead of proving the key.
            checkServerIdentity: () => new Error('the peer does not use the key'),
          })
    let connected = false
    const fail = (error: HotBackupError) => {
      clearTimeout(timeout)
      socket.destroy()
      reject(error)
    }
    const timeout = setTimeout(() => {
      const doing = connected ? 'prove the key' : 'answer'
      fail(new HotBackupError('ERR_WIRE_TIMEOUT', `${where} did not ${doing} in ${timeoutMs} ms`))
    }, timeoutMs)
    const failed = (error: Error) => fail(connectError(where, connected, error))
    const closed = () => failed(new Error('the peer closed the connection'))
    socket.once('connect', () => {
      connected = true
    })
    socket.once('error', failed)
    socket.once('close', closed)
    socket.once(key === null ? 'connect' : 'secureConnect', () => {
      clearTimeout(timeout)
      const connection = new NodeConnection(socket)
      socket.off('error', failed)
      socket.off('close', closed)
      resolve(connection)
    })
  })
}

/** Where it is not the peer that is to be looked at. */
const connectHints: Readonly<Record<string, string>> = {
  ENOTFOUND: 'Check the name of the host.',
  EAI_AGAIN: 'Check the name of the host, and that names can be looked up here.',
  EMFILE: 'Raise the limit of open files of this user ("ulimit -n").',
}

const listenHints: Readonly<Record<string, string>> = {
  EACCES: 'Choose another port: those below 1,024 are for the system.',
  EADDRNOTAVAIL: 'This machine has no such address: correct it in hb.toml.',
  ENOTFOUND: 'Check the name of the host in hb.toml.',
  EAI_AGAIN: 'Check the name of the host in hb.toml, and that names can be looked up here.',
}

function connectError(where: string, connected: boolean, error: Error): HotBackupError {
  const { code = '', message } = error as NodeJS.ErrnoException
  if (!connected) {
    const text = `cannot connect to ${where}: ${message}`
    return new HotBackupError('ERR_CONNECT', text, {}, error, connectHints[code])
  }
  // Alerts by which a server of ours answers a wrong key (illegal parameter) or none (handshake failure).
  const refused = /ALERT_(ILLEGAL_PARAMETER|HANDSHAKE_FAILURE|DECRYPT_ERROR)|BINDER|DECRYPTION/
  if (refused.test(code)) {
    const text = `${where} does not accept our key: the keys of the two servers differ`
    return new HotBackupError('ERR_KEY', text, {}, error)
  }
  const text = `${where} broke off the TLS handshake (has it a key?): ${message.trim()}`
  return new HotBackupError('ERR_WIRE', text, {}, error)
}

/**
 * At most `connectionsMax` connections that were handed over are open; a further one is dropped. See node-admission.ts
 * for those that have not proved the key yet. `close` stops listening; connections that were handed over belong to
 * their owners and live on. Throws ERR_LISTEN.
 */
async function listen(
  address: Address,
  key: SharedKey | null,
  accept: (connection: Connection) => void,
  options: ListenOptions,
): Promise<Listener> {
  const tls = await import('node:tls')
  const { connectionsMax } = options
  const open = new Set<net.Socket>()
  const handOver = (socket: net.Socket) => {
    // One that is destroyed no longer counts, though its close is reported later.
    for (const other of open) if (other.destroyed) open.delete(other)
    if (socket.destroyed || open.size >= connectionsMax) {
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    accept(new NodeConnection(socket))
  }
  const admission = key === null ? new Admission(options, null, handOver) : secured(key)
  function secured({ bytes }: SharedKey): Admission {
    // It listens nowhere: it is given the connections that have proved the key.
    const server = tls.createServer({
      ...tlsOptions,
      handshakeTimeout: options.timeoutMs,
      pskCallback: (_socket, identity) => (identity === keyIdentity ? Buffer.from(bytes) : null),
    })
    const admission = new Admission(options, { bytes, identity: keyIdentity }, socket => {
      server.emit('connection', socket)
    })
    server.on('secureConnection', (socket: Tls.TLSSocket) => {
      admission.proved(socket)
      handOver(socket)
    })
    // Node leaves the socket open after the handshake's time-out.
    server.on('tlsClientError', (_error: Error, socket: Tls.TLSSocket) => socket.destroy())
    return admission
  }
  const server = net.createServer(socket => admission.take(socket))
  return listenAt(server, address, () => admission.close())
}

function listenPlain(
  address: Address,
  accept: (connection: Connection) => void,
): Promise<Listener> {
  const server = net.createServer(socket => accept(new NodeConnection(socket)))
  return listenAt(server, address, () => {})
}

/** `closed`: what else ends with the server. */
function listenAt(server: net.Server, address: Address, closed: () => void): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const text = `cannot listen at ${addressText(address)}: ${error.message}`
      reject(new HotBackupError('ERR_LISTEN', text, {}, error, listenHints[error.code ?? '']))
    })
    // Without a host: at all IPv6 and IPv4 addresses, or at IPv4 ones where there is no IPv6.
    const { host, port } = address
    server.listen(host === '*' ? { port } : { host, port }, () => {
      server.removeAllListeners('error')
      // An accept that fails (too many open files, say) concerns one peer, which calls again.
      server.on('error', () => {})
      const bound = server.address() as net.AddressInfo
      resolve({
        address: { host: address.host, port: bound.port },
        // The port is free at once; the callback of `close` would wait for the last connection.
        close: async () => {
          server.close()
          closed()
        },
      })
    })
  })
}
