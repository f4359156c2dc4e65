// The runs that were sent and not yet acknowledged as received, in order, and their bytes. It bounds what lies in
// the buffers of the network and of the slave.

export class SendWindow {
  readonly #bytesMax: number
  /** Last transaction and bytes of each run in flight; those before `#first` were acknowledged. */
  readonly #lastTxns: number[] = []
  readonly #bytes: number[] = []
  #first = 0
  #bytesInFlight = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight
  }
  /** True while another run may be sent. One run overshoots it, so that a block larger than the window goes too. */
  get open(): boolean {
    return this.#bytesInFlight < this.#bytesMax
  }

  sent(lastTxn: number, bytes: number): void {
    this.#lastTxns.push(lastTxn)
    this.#bytes.push(bytes)
    this.#bytesInFlight += bytes
  }

  acknowledged(receivedTxn: number): void {
    while (this.#first < this.#lastTxns.length) {
      if ((this.#lastTxns[this.#first] ?? 0) > receivedTxn) break
      this.#bytesInFlight -= this.#bytes[this.#first] ?? 0
      this.#first++
    }
    // Moving the rest to the front costs a step per entry, so it waits until as many have gone.
    if (this.#first * 2 >= this.#lastTxns.length) {
      this.#lastTxns.splice(0, this.#first)
      this.#bytes.splice(0, this.#first)
      this.#first = 0
    }
  }

  clear(): void {
    this.#lastTxns.length = 0
    this.#bytes.length = 0
    this.#first = 0
    this.#bytesInFlight = 0
  }
}
