// The digest of all that a master holds, as "hb digest" says it.
import { ask, localCaller } from '../../src/control/operation.ts'
import { readOperations } from '../../src/data/data-operations.ts'
import type { Master } from '../../src/server/master.ts'

export async function digestOfMaster(master: Master): Promise<string> {
  const all = { account: null, file: null }
  return (await ask(localCaller(master.handlers), readOperations.digest, all)).digest
}
