// A file system that forgets at a power failure what was not synced: LazyFS (https://github.com/dsrhaslab/lazyfs), a
// layer over FUSE. HB_LAZYFS names its program, built from its sources. Names are not forgotten, contents are; it has
// no sockets, so what a server has at run time only must lie elsewhere.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { until } from './servers.ts'

export class LazyFileSystem {
  readonly #orders: string
  /** Heard from the beginning to the end: it writes into one pipe. */
  readonly #answers: Readable

  private constructor(orders: string, answers: Readable) {
    this.#orders = orders
    this.#answers = answers
  }

  /** Mounted at `directory`, which is empty; what it keeps lies in `below`. Why not, when it cannot be had. */
  static async mount(t: Test, directory: string, below: string): Promise<LazyFileSystem | string> {
    const program = process.env['HB_LAZYFS']
    if (program === undefined) return 'HB_LAZYFS does not name a program of LazyFS'
    mkdirSync(below)
    const at = (name: string) => path.join(below, name)
    const [kept, orders, answers] = [at('kept'), at('orders'), at('answers')]
    mkdirSync(kept)
    const settings = [
      '[faults]',
      `fifo_path = "${orders}"`,
      `fifo_path_completed = "${answers}"`,
      '[cache]\napply_eviction = false',
      '[cache.simple]\ncustom_size = "0.25gb"\nblocks_per_page = 1',
      `[filesystem]\nlog_all_operations = false\nlogfile = "${at('messages')}"`,
    ]
    writeFileSync(at('settings'), `${settings.join('\n')}\n`)
    const options = ['-o', 'allow_other', '-o', 'modules=subdir', '-o', `subdir=${kept}`, '-f']
    const server = spawn(program, [directory, '--config-path', at('settings'), ...options], {
      stdio: 'ignore',
    })
    const mounted = () => readFileSync('/proc/mounts', 'utf8').includes(` ${directory} fuse`)
    await until('LazyFS is there', async () => mounted() && existsSync(answers))
    const listener = spawn('cat', [answers], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(async () => {
      execFileSync('umount', ['-l', directory])
      for (const child of [server, listener]) child.kill('SIGKILL')
      await Promise.all([server, listener].map(child => once(child, 'exit')))
    })
    return new LazyFileSystem(orders, listener.stdout)
  }

  /** Everything that was not synced is gone when this resolves. */
  async forget(): Promise<void> {
    const answer = once(this.#answers, 'data')
    writeFileSync(this.#orders, 'lazyfs::clear-cache\n')
    const [said] = (await answer) as [Buffer]
    if (!said.includes('finished::clear-cache')) throw new Error(`LazyFS says: ${String(said)}`)
  }
}
