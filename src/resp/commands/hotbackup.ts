// HB.*: what Redis has no word for.
import { isUtf8 } from 'node:buffer'
import { digestAccount, digestDatabase, digestFile } from '../../database/digest.ts'
import type { HashedFile } from '../../database/hashed-file.ts'
import { HotBackupError } from '../../errors.ts'
import { moduloMax } from '../../limits.ts'
import { fileFlags } from '../../log/file-flags.ts'
import { turn } from '../../platform/clock.ts'
import type { Answer, Call } from '../call.ts'
import { command, type Command, type CommandRow } from '../command.ts'
import { numberArgument } from '../numbers.ts'
import type { Reply } from '../reply.ts'
import { readOnly, ReplyError, syntaxError } from '../reply-error.ts'
import type { Names } from '../store.ts'

/** The argument as a name of an account or file. */
function nameArgument({ request }: Call, index: number): string {
  if (!isUtf8(request.arg(index))) throw new ReplyError('ERR a name is UTF-8')
  return request.text(index)
}

function namesOf({ opened }: Call): Names {
  const { names } = opened.store
  if (names === null) throw new ReplyError(readOnly)
  return names
}

function fileAt(call: Call, index: number): HashedFile {
  const { database } = call.opened.store
  const account = nameArgument(call, index)
  const name = nameArgument(call, index + 1)
  checkAccount(call, account)
  const file = database.file(account, name)
  if (file !== undefined) return file
  const place = { account, file: name }
  throw new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${name}`, place)
}

function checkAccount({ opened }: Call, account: string): void {
  if (opened.store.database.hasAccount(account)) return
  throw new HotBackupError('ERR_NO_ACCOUNT', `there is no account ${account}`, { account })
}

function accounts({ opened, reply }: Call): void {
  const names = opened.store.database.accounts()
  reply.array(names.length)
  for (const name of names) reply.bulkUtf8(name)
}

function files(call: Call): void {
  const { opened, reply } = call
  const account = nameArgument(call, 1)
  checkAccount(call, account)
  const found = opened.store.database.files(account)
  reply.array(found.length)
  for (const { name, modulo, itemCount, bytes, flags } of found) {
    reply.map(5)
    reply.bulkText('file')
    reply.bulkUtf8(name)
    number(reply, 'modulo', modulo)
    number(reply, 'items', itemCount)
    number(reply, 'bytes', bytes)
    number(reply, 'local', flags & fileFlags.local)
  }
}

function number(reply: Reply, key: string, value: number): void {
  reply.bulkText(key)
  reply.integer(value)
}

const ok: Answer = reply => reply.ok()

function createAccount(call: Call): Promise<Answer> {
  return namesOf(call)
    .createAccount(nameArgument(call, 1))
    .then(() => ok)
}

const moduloDefault = 101

function createFile(call: Call): Promise<Answer> {
  const { request } = call
  let modulo = moduloDefault
  let local = false
  for (let index = 3; index < request.count; index++) {
    if (request.is(index, 'local')) local = true
    else if (request.is(index, 'modulo') && index + 1 < request.count) {
      modulo = moduloArgument(call, ++index)
    } else throw new ReplyError(syntaxError)
  }
  const names = namesOf(call)
  return names
    .createFile(nameArgument(call, 1), nameArgument(call, 2), modulo, local)
    .then(() => ok)
}

function moduloArgument({ request }: Call, index: number): number {
  const wrong = 'ERR a modulo is a whole number from 1 to 67,108,864'
  return numberArgument(request, index, 1, moduloMax, wrong)
}

function resizeFile(call: Call): Promise<Answer> {
  const modulo = moduloArgument(call, 3)
  const names = namesOf(call)
  return names.resizeFile(nameArgument(call, 1), nameArgument(call, 2), modulo).then(() => ok)
}

function clearFile(call: Call): Promise<Answer> {
  const names = namesOf(call)
  const cleared = names.clearFile(nameArgument(call, 1), nameArgument(call, 2))
  return cleared.then(
    ({ items }) =>
      reply =>
        reply.integer(items),
  )
}

function deleteFile(call: Call): Promise<Answer> {
  const names = namesOf(call)
  const deleted = names.deleteFile(nameArgument(call, 1), nameArgument(call, 2))
  return deleted.then(
    ({ items }) =>
      reply =>
        reply.integer(items),
  )
}

function deleteAccount(call: Call): Promise<Answer> {
  const deleted = namesOf(call).deleteAccount(nameArgument(call, 1))
  return deleted.then(
    ({ files }) =>
      reply =>
        reply.integer(files),
  )
}

function digest(call: Call): Promise<Answer> {
  const { context, opened, request } = call
  const { database } = opened.store
  const pause = () => turn(context.clock)
  let sum: Promise<Buffer>
  if (request.count > 3) throw new ReplyError(syntaxError)
  if (request.count === 3) sum = digestFile(fileAt(call, 1), pause)
  else if (request.count === 1) sum = digestDatabase(database, pause)
  else {
    const account = nameArgument(call, 1)
    checkAccount(call, account)
    sum = digestAccount(database, account, pause)
  }
  return sum
    .then(async bytes => {
      await opened.store.settled()
      return bytes.toString('hex')
    })
    .then(text => reply => reply.bulkText(text))
}

function status({ context, opened, reply }: Call): void {
  const { store } = opened
  const facts = store.facts()
  const { slaves } = facts
  reply.map(10)
  reply.bulkText('name')
  reply.bulkUtf8(context.identity.name)
  reply.bulkText('type')
  reply.bulkText(store.writes === null ? 'slave' : 'master')
  number(reply, 'firstTxn', facts.firstTxn)
  number(reply, 'lastTxn', facts.lastTxn)
  number(reply, 'durableTxn', store.durableTxn)
  number(reply, 'appliedTxn', facts.appliedTxn)
  number(reply, 'checkpointTxn', facts.checkpointTxn)
  number(reply, 'timeline', facts.timeline)
  reply.bulkText('failure')
  if (facts.failure === null) reply.nil()
  else reply.bulkUtf8(facts.failure)
  reply.bulkText('slaves')
  reply.array(slaves.length)
  for (const { name, appliedTxn } of slaves) {
    reply.map(2)
    reply.bulkText('name')
    reply.bulkUtf8(name)
    reply.bulkText('appliedTxn')
    if (appliedTxn === null) reply.nil()
    else reply.integer(appliedTxn)
  }
}

const since = '0.2.0'

function read(name: string, rest: Omit<CommandRow, 'since' | 'flags'>): Command {
  return command('hotbackup', `hb.${name}`, { ...rest, since, flags: 'readonly no_multi' })
}

function write(name: string, rest: Omit<CommandRow, 'since' | 'flags'>): Command {
  return command('hotbackup', `hb.${name}`, { ...rest, since, flags: 'write admin no_multi' })
}

export const hotbackupCommands: readonly Command[] = [
  read('accounts', { arity: 1, summary: 'Returns the names of the accounts.', run: accounts }),
  write('clearfile', {
    arity: 3,
    syntax: 'account file',
    summary: 'Deletes all items of a file, and counts them.',
    run: clearFile,
  }),
  write('createaccount', {
    arity: 2,
    syntax: 'account',
    summary: 'Creates an account.',
    run: createAccount,
  }),
  write('createfile', {
    arity: -3,
    syntax: 'account file [MODULO modulo] [LOCAL]',
    summary: 'Creates a file.',
    run: createFile,
  }),
  write('deleteaccount', {
    arity: 2,
    syntax: 'account',
    summary: 'Deletes an account with its files, and counts these.',
    run: deleteAccount,
  }),
  write('deletefile', {
    arity: 3,
    syntax: 'account file',
    summary: 'Deletes a file with its items, and counts these.',
    run: deleteFile,
  }),
  read('digest', {
    arity: -1,
    syntax: '[account [file]]',
    summary: 'Returns the SHA-256 of the content, as "hb digest" does.',
    run: digest,
  }),
  read('files', {
    arity: 2,
    syntax: 'account',
    summary: 'Returns the files of an account: modulo, items and bytes.',
    run: files,
  }),
  write('resizefile', {
    arity: 4,
    syntax: 'account file modulo',
    summary: 'Spreads the items of a file over another number of groups.',
    run: resizeFile,
  }),
  read('status', {
    arity: 1,
    summary: 'Returns the positions of the server and of its slaves.',
    run: status,
  }),
]
