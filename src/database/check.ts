// Says whether a transaction fits the database, before anything is changed: later records of a transaction may
// build on earlier ones, so its effect on the names is tried on a draft.
import { HotBackupError } from '../errors.ts'
import { isReplicated } from '../log/file-flags.ts'
import { RecordCursor, RecordType, recordTypeNames } from '../log/record.ts'
import { type Accounts } from './accounts.ts'
import { hashId } from './hash.ts'
import { nameFault } from './names.ts'
import { type Quarantine } from './quarantine.ts'

export interface ApplyRules {
  /** Missing accounts and files are created by what refers to them. */
  readonly autoCreate: boolean
  /** Files that are not replicated are left out. */
  readonly replica: boolean
}

/** A record that does not fit; nothing has been changed. */
export class Misfit extends HotBackupError {
  /** For want of an account or file, not because of what is here. */
  readonly missing: boolean

  constructor(message: string, missing: boolean) {
    super('ERR_APPLY', message)
    this.missing = missing
  }
}

/** What the transaction has made of the names so far; only what differs from `base`. */
class Draft {
  readonly base: Accounts
  /** Exists or not. */
  readonly accounts = new Map<string, boolean>()
  /** Where the file is, null when it has been deleted. */
  readonly numbers = new Map<number, { readonly account: string; readonly file: string } | null>()
  /** Account and file, with a slash, which no name has: taken or not. */
  readonly names = new Map<string, boolean>()
  /** Files more or less than in `base`. */
  readonly fileCounts = new Map<string, number>()
  readonly rules: ApplyRules
  /** The fault that was found is that something is missing. */
  missing = false

  constructor(base: Accounts, rules: ApplyRules) {
    this.base = base
    this.rules = rules
  }

  /** A fault for want of something. */
  lacks(what: string): string {
    this.missing = true
    return what
  }

  hasAccount(account: string): boolean {
    return this.accounts.get(account) ?? this.base.has(account)
  }

  file(number: number): { readonly account: string; readonly file: string } | null {
    const own = this.numbers.get(number)
    return own === undefined ? (this.base.byNumber(number)?.attributes ?? null) : own
  }

  hasName(account: string, file: string): boolean {
    const own = this.names.get(`${account}/${file}`)
    return own ?? this.base.file(account, file) !== undefined
  }

  fileCount(account: string): number {
    return this.base.fileCount(account) + (this.fileCounts.get(account) ?? 0)
  }

  addFile(number: number, account: string, file: string): void {
    this.numbers.set(number, { account, file })
    this.names.set(`${account}/${file}`, true)
    this.fileCounts.set(account, (this.fileCounts.get(account) ?? 0) + 1)
  }

  removeFile(number: number): void {
    const { account, file } = this.file(number)!
    this.numbers.set(number, null)
    this.names.set(`${account}/${file}`, false)
    this.fileCounts.set(account, (this.fileCounts.get(account) ?? 0) - 1)
  }
}

/**
 * Walks the cursor, which has been reset, over a whole transaction. Throws Misfit when a record does not fit,
 * ERR_LOG_CORRUPT when there is no such record.
 */
export function checkTransaction(
  cursor: RecordCursor,
  end: number,
  base: Accounts,
  rules: ApplyRules,
): void {
  const draft = new Draft(base, rules)
  let complete = false
  while (cursor.next()) {
    if (cursor.last !== (cursor.valueEnd === end)) {
      throw new Misfit('the records are not one whole transaction', false)
    }
    complete = cursor.last
    const fault = recordFault(cursor, draft)
    if (fault === null) continue
    const about = cursor.fileNumber === 0 ? '' : ` for file number ${cursor.fileNumber}`
    throw new Misfit(`${recordTypeNames[cursor.type]}${about}: ${fault}`, draft.missing)
  }
  if (!complete) throw new Misfit('a transaction without records', false)
}

/** Throws ERR_GROUP_DAMAGED when one of the records is about an item of a group that is damaged. */
export function refuseDamaged(
  quarantine: Quarantine,
  accounts: Accounts,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  const cursor = new RecordCursor()
  cursor.reset(bytes, start, end)
  while (cursor.next()) {
    if (cursor.type > RecordType.deleteItem) continue
    const file = accounts.byNumber(cursor.fileNumber)
    if (file === undefined) continue
    const range = quarantine.at(file.number, hashId(bytes, cursor.idStart, cursor.idEnd))
    if (range !== undefined) throw quarantine.refusal(file, range)
  }
}

/** Why the record does not fit, null when it does; its effect is added to the draft. */
function recordFault(cursor: RecordCursor, draft: Draft): string | null {
  const number = cursor.fileNumber
  switch (cursor.type) {
    case RecordType.writeItem:
    case RecordType.deleteItem:
      if (cursor.idStart === cursor.idEnd) return 'the item-id is empty'
      return draft.file(number) === null ? draft.lacks('no such file') : null
    case RecordType.createFile:
      return createFileFault(cursor, draft)
    case RecordType.resizeFile:
      cursor.modulo()
      return draft.file(number) === null ? draft.lacks('no such file') : null
    case RecordType.clearFile:
      return draft.file(number) === null ? draft.lacks('no such file') : null
    case RecordType.deleteFile:
      if (draft.file(number) === null) return draft.lacks('no such file')
      draft.removeFile(number)
      return null
    case RecordType.createAccount: {
      const account = cursor.idText()
      const fault = nameFault(account)
      if (fault !== null) return `the account name ${JSON.stringify(account)} ${fault}`
      if (draft.hasAccount(account)) return `account ${account} exists already`
      draft.accounts.set(account, true)
      return null
    }
    case RecordType.deleteAccount: {
      const account = cursor.idText()
      if (!draft.hasAccount(account)) return draft.lacks(`no account ${JSON.stringify(account)}`)
      if (draft.fileCount(account) > 0) return `account ${account} still has files`
      draft.accounts.set(account, false)
      return null
    }
    case RecordType.mapFile:
    case RecordType.setFile: {
      const { account, file, flags } = cursor.attributes()
      const found = draft.file(number)
      if (found === null) {
        // Nothing of a file that is not replicated can be missing.
        return draft.rules.autoCreate || (draft.rules.replica && !isReplicated(flags))
          ? createFileFault(cursor, draft)
          : draft.lacks(`no such file (${account} ${file})`)
      }
      if (found.account === account && found.file === file) return null
      return `that is ${found.account} ${found.file} here, and ${account} ${file} in the record`
    }
    case RecordType.clearGroup:
      cursor.hashes()
      return draft.file(number) === null ? draft.lacks('no such file') : null
    case RecordType.promote:
    case RecordType.mark:
    case RecordType.verify:
      return null
  }
}

function createFileFault(cursor: RecordCursor, draft: Draft): string | null {
  const { account, file } = cursor.attributes()
  const fault = nameFault(file)
  if (fault !== null) return `the file name ${JSON.stringify(file)} ${fault}`
  if (!draft.hasAccount(account)) {
    const accountFault = nameFault(account)
    if (accountFault !== null) return `the account name ${JSON.stringify(account)} ${accountFault}`
    if (!draft.rules.autoCreate) return draft.lacks(`no account ${JSON.stringify(account)}`)
    draft.accounts.set(account, true)
  }
  if (draft.hasName(account, file)) return `file ${account} ${file} exists already`
  if (cursor.fileNumber === 0) return 'no file has the number 0'
  const other = draft.file(cursor.fileNumber)
  if (other !== null) return `the number belongs to ${other.account} ${other.file}`
  draft.addFile(cursor.fileNumber, account, file)
  return null
}
