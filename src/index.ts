// The public API: an explicit list. What is not here is nobody's business outside.
export type { CommitLevel } from './config/policies.ts'
export {
  Account,
  File,
  moduloDefault,
  type CreateFileOptions,
  type Item,
  type UpdateOptions,
} from './updates/account.ts'
export { Master, type MasterEvent, type MasterOptions, type MasterStatus } from './server/master.ts'
export type { CommitStatus } from './updates/commits.ts'
export type { AckLevel } from './ship/ack-file.ts'
export type { Synchronous, Transaction } from './updates/transaction.ts'
export type { Bytes } from './log/record.ts'
export { HotBackupError, isHotBackupError, errorCodes, exitCodes } from './errors.ts'
export type { ErrorCode, ErrorPlace, ExitCode } from './errors.ts'
