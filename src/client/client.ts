// A server's database for any number of programs at once: `connect` gives each what Master gives the one that has it
// open. On a slave it reads, and refuses to write.
import { type Change } from '../data/packed-commits.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { AckLevel } from '../ship/ack-file.ts'
import { checkUserOf } from '../config/acting-user.ts'
import { loadConfig } from '../config/config.ts'
import type { Operation, Request } from '../control/operation.ts'
import { status } from '../control/status-operation.ts'
import { allItems } from '../data/data-access.ts'
import { readOperations, updateOperations } from '../data/data-operations.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import type { MasterStatus, SlaveStatus } from '../control/server-status.ts'
import type { Item, UpdateOptions } from '../updates/account.ts'
import { checkOptions, checkType } from '../updates/arguments.ts'
import { ClientAccount, created, type FileChange, type Reach } from './client-files.ts'
import { ClientTransaction, conflict } from './client-transaction.ts'
import { Line } from './line.ts'
import { Sender } from './sender.ts'

/** Transactions of other programs get in between: rarely so often in a row. */
const attemptsMax = 100
/** After a conflict a transaction waits at random, up to this for each attempt before. */
const restMsMax = 5
/** A wait asks again, so that a server does not go on for a program that has gone. */
const waitSliceMs = 1000

/**
 * Connects to the server that runs in `directory`, on this machine. Errors: ERR_NOT_A_SERVER, ERR_OTHER_USER,
 * ERR_CONFIG, ERR_NOT_RUNNING.
 */
export async function connect(directory: string): Promise<Client> {
  checkType('the directory of a server', 'string', directory)
  const layout = layoutOf(directory)
  await checkUserOf(nodePlatform, layout.directory)
  const { name } = await loadConfig(nodePlatform.disk, layout)
  const client = new Client(layout, name)
  await client.status()
  return client
}

/** The database of a running server, master or slave. It is connected again by itself when the server comes back. */
export class Client {
  readonly directory: string
  readonly name: string
  readonly #layout: Layout
  readonly #readLine: Line
  readonly #updateLine: Line
  readonly #sender: Sender
  readonly #reach: Reach
  /** Of iterations that are under way. */
  readonly #lines = new Set<Line>()

  /** To be made by `connect`. */
  constructor(layout: Layout, name: string) {
    this.directory = layout.directory
    this.name = name
    this.#layout = layout
    this.#readLine = this.#line()
    this.#updateLine = this.#line()
    this.#sender = new Sender(this.#updateLine)
    this.#reach = {
      files: async account => {
        const { parts } = await this.#read(readOperations.listFiles, { account })
        return parts.flatMap(({ rows }) => rows)
      },
      readItem: async (account, file, id) => {
        const request = { account, file, body: id }
        return (await this.#read(readOperations.readItem, request)).answer.body
      },
      createFile: async (account, file, modulo, local) => {
        await this.#update(updateOperations.createFile, { account, file, modulo, local })
      },
      changeFile: (account, file, change) => this.#changeFile({ account, file }, change),
      scanning: (account, file) => this.#scan(account, file),
      commit: (changes, options) => this.#sender.commit(changes, options?.level),
    }
  }

  /** Sees all that the program has written before. */
  async #read<O extends Operation>(operation: O, request: Request<O>) {
    await this.#sender.settled()
    return this.#readLine.answer(true, operation, request)
  }

  /** In its place among the program's updates. */
  async #update<O extends Operation>(operation: O, request: Request<O>): Promise<void> {
    await this.#sender.single(async () => {
      await this.#updateLine.answer(false, operation, request)
    })
  }

  #changeFile(
    file: { readonly account: string; readonly file: string },
    change: FileChange,
  ): Promise<void> {
    const { deleteFile, clearFile, resizeFile, setFile } = updateOperations
    switch (change.what) {
      case 'delete':
        return this.#update(deleteFile, file)
      case 'clear':
        return this.#update(clearFile, file)
      case 'resize':
        return this.#update(resizeFile, { ...file, modulo: change.modulo })
      case 'set':
        return this.#update(setFile, { ...file, local: change.local })
      default:
        return change satisfies never
    }
  }

  #line(): Line {
    const line = new Line(nodePlatform, this.#layout)
    this.#lines.add(line)
    return line
  }

  /** Names of the accounts, sorted. */
  async accounts(): Promise<string[]> {
    const { parts } = await this.#read(readOperations.listAccounts, {})
    return parts.flatMap(({ rows }) => rows.map(({ account }) => account))
  }

  /** A handle of the account of that name, there or not. */
  account(name: string): ClientAccount {
    return new ClientAccount(name, this.#reach)
  }

  /** Creates an account; resolves when that is durable. Errors: ERR_NAME, ERR_EXISTS. */
  async createAccount(name: string): Promise<ClientAccount> {
    const account = this.account(name)
    await this.#update(updateOperations.createAccount, { account: name })
    return account
  }

  /** The account of that name, created if there is none; resolves when it is durable. Errors: ERR_NAME. */
  async openAccount(name: string): Promise<ClientAccount> {
    await created(this.createAccount(name))
    return this.account(name)
  }

  /** Deletes an account with its files; resolves when that is durable. Errors: ERR_NO_ACCOUNT. */
  async deleteAccount(name: string): Promise<void> {
    checkType('the name of an account', 'string', name)
    await this.#update(updateOperations.deleteAccount, { account: name })
  }

  /**
   * Several updates, whole or not at all, on the master, in the log and on every slave. `work` reads and writes by the
   * transaction that it gets, and may wait for what it likes. It is called again when another program has changed
   * meanwhile what it had read, so it must do nothing else that counts. Until then it may see half of such a change.
   * What it throws is thrown, and nothing has happened. Resolves with its result when the transaction is durable, or
   * has got as far as the level says. Errors: ERR_CONFLICT, and those of ClientFile.write.
   */
  async transaction<T>(
    work: (transaction: ClientTransaction) => T | Promise<T>,
    options: UpdateOptions = {},
  ): Promise<T> {
    checkType('the work of a transaction', 'function', work)
    checkOptions(options)
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const transaction = new ClientTransaction()
      const result = await work(transaction)
      const changes: readonly Change[] = transaction.close()
      if (changes.length === 0) return result
      if ((await this.#sender.commit(changes, options.level)) !== 'conflict') return result
      const [byte = 0] = nodePlatform.random.bytes(1)
      await sleep(nodePlatform.clock, (byte / 255) * restMsMax * attempt)
    }
    throw conflict(attemptsMax)
  }

  /**
   * Resolves when enough slaves (hb.toml, commit.slaves) have received, stored or applied transaction `txn`. Errors:
   * ERR_TIMEOUT after `timeoutMs`, ERR_NO_SLAVE, ERR_UNCONFIRMED (the server was closed meanwhile), ERR_READ_ONLY.
   */
  async wait(txn: number, level: AckLevel, options: { timeoutMs?: number } = {}): Promise<void> {
    checkType('a transaction', 'number', txn)
    checkOptions(options)
    const { clock } = nodePlatform
    const end = clock.monotonic() + (options.timeoutMs ?? Infinity)
    const line = this.#line()
    try {
      for (;;) {
        const left = end - clock.monotonic()
        const timeoutMs = Math.max(0, Math.min(left, waitSliceMs))
        try {
          await line.answer(true, updateOperations.waitSlaves, { txn, level, timeoutMs })
          return
        } catch (error) {
          if (!isHotBackupError(error, 'ERR_TIMEOUT') || left <= waitSliceMs) throw error
        }
      }
    } finally {
      this.#end(line)
    }
  }

  /** A transaction at which all updates are in the log that this client has made, for `wait`; 0 before the first. */
  get lastTxn(): number {
    return this.#sender.lastTxn
  }

  /** The server's state: a master's, or a slave's. */
  async status(): Promise<MasterStatus | SlaveStatus> {
    const { answer } = await this.#readLine.answer(true, status, {})
    const found = answer.master ?? answer.slave
    if (found !== undefined) return found
    throw new HotBackupError('ERR_WIRE', 'the server does not say what it is')
  }

  /** Waits for what is under way, and hangs up. */
  async close(): Promise<void> {
    await this.#sender.settled()
    for (const line of this.#lines) this.#end(line)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *#scan(account: string, file: string): AsyncGenerator<Item, void, undefined> {
    await this.#sender.settled()
    const line = this.#line()
    try {
      yield* allItems(line, account, file)
    } finally {
      this.#end(line)
    }
  }

  #end(line: Line): void {
    line.close()
    this.#lines.delete(line)
  }
}
