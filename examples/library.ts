// The library in one page; README.md shows it. Run it with the directory of a master that "hb start" has started:
//   node build/examples/library.js DIR
import { connect } from '../src/index.ts'

const database = await connect(process.argv[2] ?? '.')
try {
  // Opened, or created if they are not there. The options are for a new file.
  const sales = await database.openAccount('SALES')
  const customers = await sales.openFile('CUSTOMERS', { modulo: 1009 })
  const orders = await sales.openFile('ORDERS')

  // A write resolves when it is durable in the transaction log.
  await customers.write('CUST*1000', 'Ada Lovelace')
  console.log(String(await customers.read('CUST*1000')))

  // Several updates, whole or not at all, here and on every slave.
  const count = await database.transaction(async transaction => {
    transaction.write(orders, 'ORD*1', 'CUST*1000')
    const before = Number((await transaction.read(customers, 'ORDER.COUNT')) ?? 0)
    transaction.write(customers, 'ORDER.COUNT', String(before + 1))
    return before + 1
  })
  console.log(`${count} ${count === 1 ? 'order' : 'orders'}`)

  for await (const { id, value } of customers.items()) console.log(`${id} = ${value}`)
} finally {
  await database.close()
}
