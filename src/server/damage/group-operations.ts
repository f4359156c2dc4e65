// The operation on a master's data by which a slave's damaged group is written into the log again.
import { HotBackupError } from '../../errors.ts'
import type { Operation } from '../control/operations.ts'

export const groupOperations: Readonly<Record<string, Operation>> = {
  'mend-group': async function* ({ mends }, args) {
    if (mends === null) throw new HotBackupError('ERR_READ_ONLY', 'this server is a slave')
    const range = {
      fileNumber: args.number('fileNumber'),
      from: args.number('from'),
      to: args.number('to'),
    }
    yield { header: { txn: await mends.writeAgain(range) } }
  },
}
