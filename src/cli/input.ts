// What commands read: standard input, or what lies at a path.
import path from 'node:path'
import type { Input } from '../platform/inputs.ts'
import type { Context } from './command-line.ts'

/** "-" is standard input. Throws ERR_INPUT, ERR_DISK. */
export async function openInput({ stdin, inputs }: Context, name: string): Promise<Input> {
  return name === '-' ? { bytes: null, pieces: stdin } : inputs.open(path.resolve(name))
}
