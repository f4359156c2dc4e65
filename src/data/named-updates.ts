// Updates of accounts and files by names, for commands and the Redis protocol. Each resolves when it is durable.
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError } from '../errors.ts'
import { fileFlags } from '../log/file-flags.ts'
import { checkAccount, findFile } from '../updates/account.ts'
import type { Replication } from '../updates/replication.ts'
import type { Removed, Updates } from '../updates/updates.ts'

export interface UpdateParts {
  readonly database: Database
  readonly updates: Updates
  readonly replication: Replication
}

export class NamedUpdates {
  readonly #parts: UpdateParts

  constructor(parts: UpdateParts) {
    this.#parts = parts
  }

  async createAccount(account: string): Promise<void> {
    await this.#parts.updates.createAccount(account)
  }

  async deleteAccount(account: string): Promise<Removed> {
    checkAccount(this.#parts.database, account)
    return this.#parts.updates.deleteAccount(account)
  }

  async createFile(account: string, file: string, modulo: number, local: boolean): Promise<void> {
    checkAccount(this.#parts.database, account)
    await this.#parts.updates.createFile(account, file, modulo, local)
  }

  /** Resolves when a file that becomes replicated has been written into the log as a whole. */
  async setLocal(account: string, file: string, local: boolean): Promise<void> {
    const found = this.#find(account, file)
    await this.#parts.updates.setLocal(found, local)
    await this.#parts.replication.filled()
    if ((found.flags & fileFlags.filling) === 0 || found.deleted) return
    const message = `the master closes; it goes on filling ${account} ${file} when it is opened again`
    throw new HotBackupError('ERR_CLOSED', message, { account, file })
  }

  async deleteFile(account: string, file: string): Promise<Removed> {
    return this.#parts.updates.deleteFile(this.#find(account, file))
  }

  async clearFile(account: string, file: string): Promise<Removed> {
    return this.#parts.updates.clearFile(this.#find(account, file))
  }

  async resizeFile(account: string, file: string, modulo: number): Promise<void> {
    await this.#parts.updates.resizeFile(this.#find(account, file), modulo)
  }

  #find(account: string, file: string): HashedFile {
    return findFile(this.#parts.database, account, file)
  }
}
