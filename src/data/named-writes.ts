// Updates by names, for commands and the control socket.
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import { fileFlags } from '../log/file-flags.ts'
import type { Bytes } from '../log/record.ts'
import type { AckLevel } from '../ship/ack-file.ts'
import { checkAccount, findFile } from '../updates/account.ts'
import type { Commits } from '../updates/commits.ts'
import type { Replication } from '../updates/replication.ts'
import type { Removed, Updates } from '../updates/updates.ts'
import { CommitOperation, type CommitOutcome } from './commit-operation.ts'
import type { DataWrites } from './data-source.ts'

export class NamedWrites implements DataWrites {
  readonly #database: Database
  readonly #updates: Updates
  readonly #replication: Replication
  readonly #commits: Commits
  readonly #operation: CommitOperation

  constructor(database: Database, updates: Updates, replication: Replication, commits: Commits) {
    this.#database = database
    this.#updates = updates
    this.#replication = replication
    this.#commits = commits
    this.#operation = new CommitOperation(database, updates)
  }

  get lastTxn(): number {
    return this.#updates.lastTxn
  }

  commit(...args: Parameters<DataWrites['commit']>): Promise<CommitOutcome[]> {
    return this.#operation.commit(...args)
  }

  reached(txn: number, level: AckLevel, timeoutMs: number): Promise<void> {
    return this.#commits.reached(txn, level, timeoutMs)
  }

  async createAccount(account: string): Promise<void> {
    await this.#updates.createAccount(account)
  }

  async deleteAccount(account: string): Promise<Removed> {
    checkAccount(this.#database, account)
    return this.#updates.deleteAccount(account)
  }

  async createFile(account: string, file: string, modulo: number, local: boolean): Promise<void> {
    checkAccount(this.#database, account)
    await this.#updates.createFile(account, file, modulo, local)
  }

  /** Resolves when a file that becomes replicated has been written into the log as a whole. */
  async setLocal(account: string, file: string, local: boolean): Promise<void> {
    const found = findFile(this.#database, account, file)
    await this.#updates.setLocal(found, local)
    await this.#replication.filled()
    if ((found.flags & fileFlags.filling) === 0 || found.deleted) return
    const message = `the master closes; it goes on filling ${account} ${file} when it is opened again`
    throw new HotBackupError('ERR_CLOSED', message, { account, file })
  }

  async deleteFile(account: string, file: string): Promise<Removed> {
    return this.#updates.deleteFile(findFile(this.#database, account, file))
  }

  async clearFile(account: string, file: string): Promise<Removed> {
    return this.#updates.clearFile(findFile(this.#database, account, file))
  }

  async resizeFile(account: string, file: string, modulo: number): Promise<void> {
    await this.#updates.resizeFile(findFile(this.#database, account, file), modulo)
  }

  async write(account: string, file: string, id: Bytes, value: Bytes): Promise<void> {
    await this.#updates.writeItem(findFile(this.#database, account, file), id, value)
  }

  async delete(account: string, file: string, id: Bytes): Promise<boolean> {
    return this.#updates.deleteItem(findFile(this.#database, account, file), id)
  }

  /** Takes items as long as there is room, so that they share blocks; resolves when the last one is done. */
  async writeMany(
    account: string,
    file: string,
    items: Iterable<{ readonly id: Bytes; readonly value: Bytes }>,
  ): Promise<void> {
    const found = findFile(this.#database, account, file)
    let last = this.#updates.settled()
    for (const { id, value } of items) {
      if (this.#updates.turns.crowded) await this.#updates.turns.room()
      last = this.#updates.writeItem(found, id, value)
      last.catch(() => {}) // The last one says so for all of them.
    }
    await last
  }
}
