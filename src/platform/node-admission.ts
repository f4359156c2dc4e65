// What a connection has to do at a port before its owner sees it. Cheap checks come first, and each stage has its own
// fixed number of places (waiting-room.ts), so that no flood of strangers keeps a peer with the key out, or takes more
// than a known amount of memory, descriptors and time:
//
//   waiting      has not said anything complete; costs a descriptor and at most helloBytesMax bytes
//   handshake    has proved in its first message that it has the key (client-hello.ts), and gets a TLS state
//   handed over  TLS is done; the port's owner has it
//
// Without a key there is nothing to prove: a connection is handed over when its first byte has come.
import { type Socket } from 'node:net'
import { HelloCheck, wrongKeyAlert } from './client-hello.ts'
import { nodeClock } from './node-clock.ts'
import { type ListenOptions } from './network.ts'
import { nodeRandom } from './node-random.ts'
import { WaitingRoom } from './waiting-room.ts'

/** Places for each connection that the port's owner may have. */
const waitingPlaces = 16
const handshakePlaces = 2

export class Admission {
  readonly #timeoutMs: number
  readonly #wrongKey: (remoteAddress: string) => void
  readonly #check: HelloCheck | null
  readonly #pass: (socket: Socket) => void
  readonly #waiting: WaitingRoom<Socket>
  readonly #handshakes: WaitingRoom<Socket>
  /** In their handshake, by the peer's address and port. */
  readonly #byPeer = new Map<string, Socket>()

  /** `pass` gets each connection that has proved the key; what it has sent can be read from it again. */
  constructor(
    { timeoutMs, connectionsMax, wrongKey }: ListenOptions,
    key: { readonly bytes: Uint8Array; readonly identity: string } | null,
    pass: (socket: Socket) => void,
  ) {
    this.#timeoutMs = timeoutMs
    this.#wrongKey = wrongKey ?? (() => {})
    this.#check = key === null ? null : new HelloCheck(key.bytes, key.identity)
    this.#pass = pass
    const now = () => nodeClock.monotonic()
    this.#waiting = new WaitingRoom(connectionsMax * waitingPlaces, nodeRandom, now)
    this.#handshakes = new WaitingRoom(connectionsMax * handshakePlaces, nodeRandom, now)
  }

  take(socket: Socket): void {
    socket.on('error', () => {})
    if (!enter(this.#waiting, socket)) return
    const timer = setTimeout(() => socket.destroy(), this.#timeoutMs)
    socket.once('close', () => {
      clearTimeout(timer)
      this.#waiting.leave(socket)
    })
    let bytes: Buffer = Buffer.alloc(0)
    const heard = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      const verdict = this.#check?.verdict(bytes) ?? 'proven'
      if (verdict === 'incomplete') return
      socket.off('data', heard)
      clearTimeout(timer)
      this.#waiting.leave(socket)
      if (verdict === 'stranger') socket.destroy()
      // An operator who has given the servers different keys must read so.
      else if (verdict === 'unproven') {
        this.#wrongKey(peerOf(socket))
        socket.end(wrongKeyAlert, () => socket.destroy())
      }
      if (verdict !== 'proven') return
      socket.pause()
      socket.unshift(bytes)
      if (this.#check === null) this.#pass(socket)
      else this.#shakeHands(socket)
    }
    socket.on('data', heard)
  }

  /** The peer has completed the handshake. */
  proved(socket: Socket): void {
    this.#left(peerOf(socket))
    const { remoteAddress } = socket
    if (remoteAddress === undefined) return
    for (const room of [this.#waiting, this.#handshakes]) room.proved(remoteAddress)
  }

  /** Drops whatever has not been handed over. */
  close(): void {
    for (const room of [this.#waiting, this.#handshakes]) {
      for (const socket of room.members()) socket.destroy()
    }
  }

  #shakeHands(socket: Socket): void {
    if (!enter(this.#handshakes, socket)) return
    const peer = peerOf(socket)
    this.#byPeer.set(peer, socket)
    socket.once('close', () => {
      if (this.#byPeer.get(peer) === socket) this.#left(peer)
    })
    this.#pass(socket)
  }

  #left(peer: string): void {
    const socket = this.#byPeer.get(peer)
    if (socket === undefined) return
    this.#handshakes.leave(socket)
    this.#byPeer.delete(peer)
  }
}

/** False when there is no place for it: then it is closed. */
function enter(room: WaitingRoom<Socket>, socket: Socket): boolean {
  const { remoteAddress } = socket
  // Already gone.
  const leaver = remoteAddress === undefined ? socket : room.enter(socket, remoteAddress)
  leaver?.destroy()
  return leaver !== socket
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
