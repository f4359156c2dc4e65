// Two programs that share a master: run it twice at the same time, with the directory of a server that "hb start" has
// started and a name each:
//   node build/examples/shared.js DIR one & node build/examples/shared.js DIR two
// Both take numbers from one counter, and no number is taken twice. It survives "kill -9" of the server.
import { connect, isHotBackupError } from '../src/index.ts'

const [directory = '.', name = 'one', times = '1000'] = process.argv.slice(2)
const client = await connect(directory)
try {
  const shop = await client.openAccount('SHOP')
  const counters = await shop.openFile('COUNTERS')
  const orders = await shop.openFile('ORDERS')
  let unknown = 0
  for (let i = 0; i < Number(times); i++) {
    try {
      // Called again when the other program has taken the number meanwhile.
      const number = await client.transaction(async transaction => {
        const last = Number((await transaction.read(counters, 'ORDER')) ?? 0)
        transaction.write(counters, 'ORDER', String(last + 1))
        transaction.write(orders, String(last + 1), `${name} ${i}`)
        return last + 1
      })
      console.log(number)
    } catch (error) {
      // The server died before it answered. It is never sent again by itself: this program may look, or go on.
      if (!isHotBackupError(error, 'ERR_OUTCOME')) throw error
      unknown++
    }
  }
  if (unknown > 0)
    console.error(`${unknown} orders of which ${name} does not know whether they were taken`)
} finally {
  await client.close()
}
