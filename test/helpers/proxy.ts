// A proxy in front of a slave's port that does to a link what networks do: cuts it at any byte, stalls it so that
// neither side hears of an end, slows it down, or makes it a long one.
import { connect, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { Test } from 'tap'

interface Pipe {
  readonly near: Socket
  readonly far: Socket
}

export class Proxy {
  readonly #server: Server
  readonly #port: number
  readonly #pipes = new Set<Pipe>()
  /** Connections that were made so far. */
  connections = 0
  #cutAfter = Infinity
  #stalled = false
  #pieceBytes = Infinity
  #delayMs = 0
  #latencyMs = 0

  private constructor(server: Server, port: number) {
    this.#server = server
    this.#port = port
    server.on('connection', near => this.#accept(near))
  }

  /** In front of `port` of this machine. */
  static async start(t: Pick<Test, 'teardown'>, port: number): Promise<Proxy> {
    const server = createServer()
    const proxy = new Proxy(server, port)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
      server.close()
      proxy.cut()
    })
    return proxy
  }

  get address(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return `127.0.0.1:${address.port}`
  }

  /** Ends all connections, at once. */
  cut(): void {
    for (const { near, far } of this.#pipes) {
      near.destroy()
      far.destroy()
    }
  }

  /** Each connection is cut when so many bytes have come from the master. */
  cutAfter(bytes: number): void {
    this.#cutAfter = bytes
  }

  /** Nothing is moved any more, and nobody hears of it; new connections are made, and stay silent. */
  stall(): void {
    this.#stalled = true
    for (const { near, far } of this.#pipes) for (const socket of [near, far]) socket.pause()
  }

  /** As it was. What stood still is lost. */
  repair(): void {
    const lost = this.#stalled
    this.#stalled = false
    this.#cutAfter = Infinity
    this.#pieceBytes = Infinity
    this.#delayMs = 0
    if (lost) this.cut()
  }

  /** From the master, so many bytes at a time, with that rest in between. */
  slow(pieceBytes: number, delayMs: number): void {
    this.#pieceBytes = pieceBytes
    this.#delayMs = delayMs
  }

  /** Whatever is sent, either way, arrives so much later. */
  late(latencyMs: number): void {
    this.#latencyMs = latencyMs
  }

  #accept(near: Socket): void {
    this.connections++
    const far = connect(this.#port, '127.0.0.1')
    const pipe = { near, far }
    this.#pipes.add(pipe)
    const end = () => {
      // Who stalls hides the end as well.
      if (this.#stalled) return
      near.destroy()
      far.destroy()
      this.#pipes.delete(pipe)
    }
    for (const socket of [near, far])
      socket
        .setNoDelay()
        .on('error', () => {})
        .on('close', end)
    let passed = 0
    near.on('data', (bytes: Buffer) => {
      const allowed = Math.max(0, this.#cutAfter - passed)
      passed += bytes.length
      this.#later(() => {
        void this.#pass(near, far, bytes.subarray(0, allowed)).then(() => {
          if (passed > this.#cutAfter) end()
        })
      })
    })
    far.on('data', (bytes: Buffer) => this.#later(() => near.write(bytes)))
    if (this.#stalled) for (const socket of [near, far]) socket.pause()
  }

  /** In the order in which it came: timers of one length keep it. */
  #later(send: () => void): void {
    if (this.#latencyMs === 0) send()
    else setTimeout(send, this.#latencyMs)
  }

  async #pass(near: Socket, far: Socket, bytes: Buffer): Promise<void> {
    if (this.#delayMs === 0) {
      far.write(bytes)
      return
    }
    near.pause()
    for (let start = 0; start < bytes.length; start += this.#pieceBytes) {
      far.write(bytes.subarray(start, start + this.#pieceBytes))
      await new Promise(resolve => setTimeout(resolve, this.#delayMs))
    }
    if (!this.#stalled) near.resume()
  }
}
