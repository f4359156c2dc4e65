// The operations of "hb verify" on a master's data: marks of everything at full speed, marks of some ranges item by
// item, and the mending of items. Each answers, in its last part, with the last transaction that it has written.
import { hashEnd } from '../database/hash.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { Tally } from '../database/tally.ts'
import { HotBackupError } from '../errors.ts'
import type { DataSource, Verifier } from '../data/data-source.ts'
import type { Operation } from '../data/operations.ts'
import { unpackItems } from '../data/packed-items.ts'
import { checkAccount, findFile } from '../updates/account.ts'

/** How often a pass says how far it is. */
const slicesPerPart = 50

export const verifyOperations: Readonly<Record<string, Operation>> = {
  // Some parts with the items that have been looked at, then one with everything.
  'verify-pass': async function* (source, args) {
    const verifier = verifierOf(source)
    const { marks } = verifier
    const account = args.optionalText('account')
    const files = chosen(source, account, args.optionalText('file'))
    const begun = verifier.now()
    const itemsTotal = files.reduce((sum, { itemCount }) => sum + itemCount, 0)
    const firstTxn = await marks.files(account === null)
    let lastTxn = firstTxn
    let itemsDone = 0
    let slices = 0
    for (const file of files) {
      const tally = file.watch(new Tally())
      for (let hash = 0; hash < hashEnd; slices++) {
        const { next, txn } = await marks.slice(file, hash, tally).catch((error: unknown) => {
          file.unwatch(tally)
          throw error
        })
        itemsDone += (file.itemCount * (next - hash)) / hashEnd
        hash = next
        lastTxn = txn ?? lastTxn
        if (slices % slicesPerPart !== 0) await nextTurn()
        else yield { header: { itemsDone: Math.floor(itemsDone), itemsTotal } }
      }
      file.unwatch(tally)
    }
    if (account === null) {
      lastTxn = await marks.end(firstTxn)
      await verifier.passed({ begun, firstTxn, lastTxn })
    }
    await source.settled()
    yield { header: { firstTxn, lastTxn, files: files.length, items: itemsTotal } }
  },

  'verify-items': async function* (source, args) {
    const { marks } = verifierOf(source)
    const file = findFile(source.database, args.account, args.file)
    let lastTxn = 0
    for (const [from, to] of args.pairs('ranges')) {
      for (let hash = from; hash < to;) {
        const marked = await marks.items(file, hash, to)
        hash = marked.next
        lastTxn = marked.txn ?? lastTxn
        await nextTurn()
      }
    }
    await source.settled()
    yield { header: { lastTxn } }
  },

  'verify-repair': async function* (source, { account, file, body }) {
    const { marks } = verifierOf(source)
    const ids = [...unpackItems(body)].map(({ id }) => id)
    await marks.repair(findFile(source.database, account, file), ids)
    yield { header: {} }
  },
}

function verifierOf({ verifier }: DataSource): Verifier {
  if (verifier !== null) return verifier
  throw new HotBackupError('ERR_READ_ONLY', 'this server is a slave')
}

/** The files that are compared of an account, of all of them, or one. Throws ERR_NO_ACCOUNT, ERR_NO_FILE. */
function chosen(
  { database, verifier }: DataSource,
  account: string | null,
  name: string | null,
): HashedFile[] {
  if (account !== null) checkAccount(database, account)
  if (account !== null && name !== null) findFile(database, account, name)
  const files = verifier?.marks.compared() ?? []
  return files.filter(
    file => (account ?? file.account) === file.account && (name ?? file.name) === file.name,
  )
}

const nextTurn = () => new Promise<void>(resolve => setImmediate(resolve))
