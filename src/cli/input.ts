// What commands read: standard input, or what lies at a path. A person's paths may be symbolic links; the disk opens
// none in the place of a file.
import path from 'node:path'
import type { Input } from '../platform/inputs.ts'
import type { Context } from './command-line.ts'

/** Where the paths of files and directories lead, absolute. Throws ERR_DISK. */
export function realPaths({ platform }: Context, names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map(name => platform.disk.realPath(path.resolve(name))))
}

/** "-" is standard input. Throws ERR_INPUT, ERR_DISK. */
export async function openInput({ stdin, inputs }: Context, name: string): Promise<Input> {
  return name === '-' ? { bytes: null, pieces: stdin } : inputs.open(path.resolve(name))
}

/** The input, and how far it has been read. */
export class CountedInput {
  readonly bytes: number | null
  taken = 0
  readonly #input: Input

  constructor(input: Input) {
    this.#input = input
    this.bytes = input.bytes
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of this.#input.pieces) {
      this.taken += piece.length
      yield piece
    }
  }
}
