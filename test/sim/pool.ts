// Plays many stories, in as many processes as there are cores.
import { fork, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Played } from './worker.ts'

export interface Campaign {
  readonly from: number
  readonly seeds: number
  /** The name of a planted bug; null for none. */
  readonly planted: string | null
  /** Hears of each story; false: enough. */
  readonly heard: (played: Played) => boolean
}

const worker = fileURLToPath(new URL('./worker.js', import.meta.url))
const loader = new URL('./plant-loader.js', import.meta.url).href
/** A worker that says nothing for so long goes round in circles. */
const silentMs = 120_000
/** A worker gets its next story before the one before is over. */
const aheadMax = 2

/** Resolves when all stories have been played, or it was enough. */
export async function campaign({ from, seeds, planted, heard }: Campaign): Promise<void> {
  let next = from
  let over = false
  const take = (): number | null => (over || next >= from + seeds ? null : next++)
  const run = (): Promise<void> => {
    const child = startWorker(planted)
    const waiting: number[] = []
    let timer: NodeJS.Timeout
    return new Promise(resolve => {
      const circle = (error: string) => {
        const [seed] = waiting
        const nothing = { counts: {}, checks: 0, transactions: 0, worldMs: 0, cpuMs: 0 }
        if (seed !== undefined && !over && !heard({ seed, error, ...nothing })) over = true
        waiting.shift()
        // What it had not begun is another one's.
        if (waiting.length > 0) next = Math.min(next, ...waiting)
        child.kill('SIGKILL')
        resolve(over ? undefined : run())
      }
      const arm = () => {
        clearTimeout(timer)
        timer = setTimeout(() => circle(`no end within ${silentMs / 1000} s`), silentMs)
      }
      const give = () => {
        while (waiting.length < aheadMax) {
          const seed = take()
          if (seed === null) break
          waiting.push(seed)
          child.send(seed)
        }
        if (waiting.length > 0) return
        clearTimeout(timer)
        child.removeAllListeners('exit')
        child.kill('SIGKILL')
        resolve()
      }
      child.on('message', (played: Played) => {
        waiting.splice(waiting.indexOf(played.seed), 1)
        if (!over && !heard(played)) over = true
        arm()
        if (over) waiting.length = 0
        give()
      })
      child.once('exit', code => {
        clearTimeout(timer)
        circle(`the process ended with ${code}`)
      })
      arm()
      give()
    })
  }
  await Promise.all(Array.from({ length: availableParallelism() }, run))
}

function startWorker(planted: string | null): ChildProcess {
  if (planted === null) return fork(worker, { serialization: 'advanced' })
  return fork(worker, {
    serialization: 'advanced',
    execArgv: ['--import', loader],
    env: { ...process.env, HB_SIM_PLANTED: planted },
  })
}
