// Writes into a master until it is killed, and says on standard output what has been acknowledged: a line
// "WRITER NUMBER" for each item that is durable. Each of the writers waits for its own write; some updates are
// transactions of two items. SIGUSR2 orders a checkpoint. An update that fails is said as "refused CODE", once in a
// row, and tried again, unless the master is not to be used any more: then the process ends.
// Arguments: the directory, a prefix for the item-ids of this run, and for how many milliseconds each writer rests in
// between.
import { setTimeout as sleep } from 'node:timers/promises'
import { isHotBackupError } from '../../src/errors.ts'
import { Master } from '../../src/index.ts'

const writers = 16
const [directory = '', prefix = '', rest = '0'] = process.argv.slice(2)
const restMs = Number(rest)
const master = await Master.open(directory)
process.on('SIGUSR2', () => void master.checkpoint().catch(() => {}))
if (!master.accounts().includes('KILL')) {
  await (await master.createAccount('KILL')).createFile('ITEMS', { modulo: 4001 })
}
const file = master.account('KILL').file('ITEMS')
let refused = ''

await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))
await master.close().catch(() => {})

async function write(writer: number): Promise<void> {
  for (let number = 0; ; number++) {
    const id = `${prefix}*${writer}*${number}`
    while (!(await taken(id, number))) {
      if (refused === 'ERR_STOPPED' || refused === 'ERR_FENCED' || refused === 'ERR_CLOSED') return
      await sleep(20)
    }
    process.stdout.write(`${writer} ${number}\n`)
    if (restMs > 0) await sleep(restMs)
  }
}

async function taken(id: string, number: number): Promise<boolean> {
  try {
    if (number % 7 === 3) {
      await master.transaction(transaction => {
        transaction.write(file, id, `value of ${id}`)
        transaction.write(file, `${id}*TWIN`, `twin of ${id}`)
      })
    } else {
      await file.write(id, `value of ${id}`)
    }
    refused = ''
    return true
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    if (refused !== error.code) process.stdout.write(`refused ${error.code}\n`)
    refused = error.code
    return false
  }
}
