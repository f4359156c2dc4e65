// Time, and what happens next. Everything that a simulated world does is an event at a moment of its own clock;
// events are taken one after the other, and what they set in motion (promises, process.nextTick) is over before the
// next one. Nothing takes real time, and nothing depends on it.
import { isOfDead, type SimProcess } from './process.ts'

interface Event {
  readonly time: number
  readonly order: number
  /** Whose turn it is; null: the world's own. */
  readonly process: SimProcess | null
  run: (() => void) | null
}

export interface Scheduled {
  cancel(): void
}

/** Events that are taken before Node's own event loop has been round: it costs more than an event. */
const eventsPerRound = 32

export class Scheduler {
  /** Milliseconds since the start of the world. */
  now = 0
  #heap: Event[] = []
  #order = 0
  #taken = 0
  #over = false

  get taken(): number {
    return this.#taken
  }

  /** After `delayMs`, unless the process is dead by then; while it is stopped its events wait. */
  after(delayMs: number, process: SimProcess | null, run: () => void): Scheduled {
    const event: Event = {
      time: this.now + Math.max(delayMs, 0),
      order: this.#order++,
      process,
      run,
    }
    this.#push(event)
    return {
      cancel: () => {
        event.run = null
      },
    }
  }

  /**
   * Takes events until `story` is over. Rejects with its error, when nothing is left to happen, or when the clock or
   * the number of events passes its bound: then something goes round in circles.
   */
  play<T>(story: Promise<T>, bounds: { readonly ms: number; readonly events: number }): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (finish: () => void) => {
        if (this.#over) return
        this.#over = true
        this.#heap = []
        finish()
      }
      story.then(
        result => end(() => resolve(result)),
        (error: unknown) => end(() => reject(error as Error)),
      )
      const step = () => {
        if (this.#over) return
        setImmediate(step)
        try {
          this.#take(bounds)
        } catch (error) {
          end(() => reject(error as Error))
        }
      }
      for (let i = 0; i < eventsPerRound; i++) setImmediate(step)
    })
  }

  #take(bounds: { readonly ms: number; readonly events: number }): void {
    for (;;) {
      const event = this.#pop()
      if (event === null) throw new Error('nothing is left to happen, and the story is not over')
      const { run, process } = event
      if (run === null || process?.dead === true) continue
      if (process !== null && process.stopped) {
        // It may still be cancelled by what goes on before it.
        process.deferred.push(() => event.run?.())
        continue
      }
      if (event.time > bounds.ms) throw new Error(`the story is not over after ${bounds.ms} ms`)
      if (this.#taken++ > bounds.events) {
        throw new Error(`the story is not over after ${bounds.events} events`)
      }
      this.now = Math.max(this.now, event.time)
      event.run = null
      try {
        run()
      } catch (error) {
        if (!isOfDead(error)) throw error
      }
      return
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #pop(): Event | null {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined) return null
    if (heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order)
}
