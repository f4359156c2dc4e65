// The public API: an explicit list. What is not here is nobody's business outside.
// To be loaded before a program says what signals do to it: signal-exit, which this loads, ends the process at a signal
// when no other handler is left, and one that was set later by process.once is gone by then.
import 'proper-lockfile'
export type { CommitLevel } from './config/policies.ts'
export {
  Account,
  File,
  moduloDefault,
  type CreateFileOptions,
  type Item,
  type UpdateOptions,
} from './updates/account.ts'
export { connect, type Client } from './client/client.ts'
export type { ClientAccount, ClientFile } from './client/client-files.ts'
export type { ClientTransaction } from './client/client-transaction.ts'
export { Master, type MasterEvent, type MasterOptions, type MasterStatus } from './server/master.ts'
export type { CommitStatus } from './updates/commits.ts'
export type { SlaveStatus } from './server/slave-status.ts'
export type { AckLevel } from './ship/ack-file.ts'
export type { Synchronous, Transaction } from './updates/transaction.ts'
export type { Bytes } from './log/record.ts'
export { HotBackupError, isHotBackupError, errorCodes, exitCodes } from './errors.ts'
export type { ErrorCode, ErrorPlace, ExitCode } from './errors.ts'
