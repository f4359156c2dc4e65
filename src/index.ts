// The public API: an explicit list. What is not here is nobody's business outside.
import './platform/early-locks.ts'
export type { CommitLevel } from './config/policies.ts'
export type { MasterStatus, SlaveStatus, CommitStatus } from './control/server-status.ts'
export {
  Account,
  File,
  type CreateFileOptions,
  type Item,
  type UpdateOptions,
} from './updates/account.ts'
export { connect, type Client } from './client/client.ts'
export type { ClientAccount, ClientFile } from './client/client-files.ts'
export type { ClientTransaction } from './client/client-transaction.ts'
export { Master, type MasterEvent, type MasterOptions } from './server/master.ts'
export type { AckLevel } from './ship/ack-file.ts'
export type { Synchronous, Transaction } from './updates/transaction.ts'
export type { Bytes } from './log/record.ts'
export { moduloDefault } from './limits.ts'
export { HotBackupError, isHotBackupError, errorCodes, exitCodes } from './errors.ts'
export type { ErrorCode, ErrorPlace, ExitCode } from './errors.ts'
