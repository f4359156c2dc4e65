// Lines of text out of a stream, as they come.
import type { Readable } from 'node:stream'
import { KiB } from '../limits.ts'

const lineBytesMax = 64 * KiB

/** Longer lines are cut. What is wrong with the stream is heard of elsewhere. */
export function hearLines(stream: Readable, heard: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = (lines.pop() ?? '').slice(0, lineBytesMax)
    for (const line of lines) heard(line.slice(0, lineBytesMax))
  })
  stream.on('error', () => {})
}
