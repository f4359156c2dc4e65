// The public API: an explicit list. What is not here is nobody's business outside.
export {
  Account,
  File,
  moduloDefault,
  type CreateFileOptions,
  type Item,
} from './server/account.ts'
export { Master, type MasterOptions, type MasterStatus } from './server/master.ts'
export type { Transaction } from './server/transaction.ts'
export type { Bytes } from './log/record.ts'
export { HotBackupError, isHotBackupError, errorCodes, exitCodes } from './errors.ts'
export type { ErrorCode, ErrorPlace, ExitCode } from './errors.ts'
