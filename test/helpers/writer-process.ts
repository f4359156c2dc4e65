// Writes into a master until it is killed, and says on standard output what has been acknowledged: a line
// "WRITER NUMBER" for each item that is durable. Each of the writers waits for its own write; some updates are
// transactions of two items. Arguments: the directory, and a prefix for the item-ids of this run.
import { Master } from '../../src/index.ts'

const writers = 16
const [directory = '', prefix = ''] = process.argv.slice(2)
const master = await Master.open(directory)
if (!master.accounts().includes('KILL')) {
  await (await master.createAccount('KILL')).createFile('ITEMS', { modulo: 4001 })
}
const file = master.account('KILL').file('ITEMS')

await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))

async function write(writer: number): Promise<void> {
  for (let number = 0; ; number++) {
    const id = `${prefix}*${writer}*${number}`
    if (number % 7 === 3) {
      await master.transaction(transaction => {
        transaction.write(file, id, `value of ${id}`)
        transaction.write(file, `${id}*TWIN`, `twin of ${id}`)
      })
    } else {
      await file.write(id, `value of ${id}`)
    }
    process.stdout.write(`${writer} ${number}\n`)
  }
}
