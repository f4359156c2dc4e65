// Carries out the operations of "hb verify" on a master's data: marks of everything at full speed, marks of some ranges
// item by item, and the repair of items.
import { hashEnd } from '../database/hash.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { Tally } from '../database/tally.ts'
import type { Handler } from '../control/handler.ts'
import { handler, type Answer, type Part } from '../control/operation.ts'
import { unpackItems } from '../data/packed-items.ts'
import type { Database } from '../database/database.ts'
import { turn, type Clock } from '../platform/clock.ts'
import { checkAccount, findFile } from '../updates/account.ts'
import type { ContinuousVerification } from './continuous-verification.ts'
import { verifyOperations } from './repair-operations.ts'
import type { VerifyMarks } from './verify-marks.ts'

/** How often a pass says how far it is. */
const slicesPerPart = 50

export interface VerifySource {
  readonly database: Database
  readonly clock: Pick<Clock, 'now' | 'nextTurn'>
  settled(): Promise<void>
  readonly marks: VerifyMarks
  readonly verification: Pick<ContinuousVerification, 'passed'>
}

export function verifyHandlers(source: VerifySource): Handler[] {
  const { database, clock, marks } = source
  const operations = verifyOperations
  return [
    handler(operations.verifyPass, ({ account, file }) => pass(source, account, file)),
    handler(operations.verifyItems, async ({ account, file, ranges }) => {
      const found = findFile(database, account, file)
      let lastTxn = 0
      for (const [from, to] of ranges) {
        for (let hash = from; hash < to;) {
          const marked = await marks.items(found, hash, to)
          hash = marked.next
          lastTxn = marked.txn ?? lastTxn
          await turn(clock)
        }
      }
      await source.settled()
      return { lastTxn }
    }),
    handler(operations.verifyRepair, async ({ account, file, body }) => {
      const ids = [...unpackItems(body)].map(({ id }) => id)
      await marks.repair(findFile(database, account, file), ids)
      return {}
    }),
  ]
}

async function* pass(
  source: VerifySource,
  account: string | null,
  name: string | null,
): AsyncGenerator<
  Part<typeof verifyOperations.verifyPass>,
  Answer<typeof verifyOperations.verifyPass>,
  undefined
> {
  const { clock, marks } = source
  const files = chosen(source, account, name)
  const begun = clock.now()
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
      if (slices % slicesPerPart !== 0) await turn(clock)
      else yield { itemsDone: Math.floor(itemsDone), itemsTotal }
    }
    file.unwatch(tally)
  }
  if (account === null) {
    lastTxn = await marks.end(firstTxn)
    await source.verification.passed({ begun, firstTxn, lastTxn })
  }
  await source.settled()
  return { firstTxn, lastTxn, files: files.length, items: itemsTotal }
}

/** The files that are compared of an account, of all of them, or one. Throws ERR_NO_ACCOUNT, ERR_NO_FILE. */
function chosen(
  { database, marks }: VerifySource,
  account: string | null,
  name: string | null,
): HashedFile[] {
  if (account !== null) checkAccount(database, account)
  if (account !== null && name !== null) findFile(database, account, name)
  return marks
    .compared()
    .filter(file => (account ?? file.account) === file.account && (name ?? file.name) === file.name)
}
