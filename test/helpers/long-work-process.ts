// An application for tests of long work: it opens the master in the directory that is its argument, does what each line
// of its standard input says, a JSON array of orders, and answers "done" when all of that is durable. Doing the same
// orders again leads to the same.
import { createInterface } from 'node:readline'
import { Master } from '../../src/index.ts'

export type Order =
  | { readonly type: 'write'; readonly id: string; readonly value: string }
  | { readonly type: 'delete'; readonly id: string }
  | { readonly type: 'resize'; readonly modulo: number }
  | { readonly type: 'clear' | 'create again' | 'checkpoint' }

const master = await Master.open(process.argv[2] ?? '')
const account = master.accounts().includes('A')
  ? master.account('A')
  : await master.createAccount('A')
if (!account.files().includes('F')) await account.createFile('F', { modulo: 101 })
process.stdout.write('open\n')

for await (const line of createInterface({ input: process.stdin })) {
  let last: Promise<unknown> = Promise.resolve()
  for (const order of JSON.parse(line) as readonly Order[]) {
    const file = account.file('F')
    if (order.type === 'write') last = file.write(order.id, order.value)
    else if (order.type === 'delete') last = file.delete(order.id)
    else if (order.type === 'resize') last = file.resize(order.modulo)
    else if (order.type === 'clear') last = file.clear()
    else if (order.type === 'checkpoint') await master.checkpoint()
    else {
      await account.deleteFile('F')
      await account.createFile('F', { modulo: 101 })
    }
  }
  await last
  process.stdout.write('done\n')
}
await master.close()
