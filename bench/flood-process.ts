// A flood of strangers from a process of its own: PORT KIND ADDRESSES PER-SECOND. At the end of its standard input it
// says how many connections it has made.
import { flood, type StrangerKind } from '../test/helpers/flood.ts'

const [port, kind, addresses, perSecond] = process.argv.slice(2)
const strangers = flood(Number(port), kind as StrangerKind, {
  atOnce: 2000,
  addresses: Number(addresses),
  perSecond: Number(perSecond),
})
process.stdin.resume().on('end', () => {
  process.stdout.write(String(strangers.made))
  process.exit(0)
})
