// The operations by which a server is copied while it works, and by which a slave is given a copy (see
// control/operation.ts).
import * as v from 'valibot'
import { bytes, operation, text } from '../control/operation.ts'
import { seedStatus } from '../control/status-operation.ts'
import { HotBackupError } from '../errors.ts'

/** The operations of one copy go over one connection; it ends with that. */
export const copyOperations = {
  begin: operation('copy-begin', { data: true }),
  /** Frames that have changed on the disk since the last call, packed (frame-changes.ts). */
  changes: operation('copy-changes', { data: true, part: v.object({ body: bytes }) }),
  /** Makes a checkpoint; from then on the files on the disk stand still, until they are released. */
  hold: operation('copy-hold', { data: true }),
  release: operation('copy-release', { data: true }),
}

/** Gives a slave a copy of the database, and tells how far that is. */
export const seed = operation('seed', {
  request: v.object({ slave: text }),
  part: seedStatus,
  refusal: () => new HotBackupError('ERR_WRONG_TYPE', 'this server sends nothing to slaves'),
})
