// The types of the public API, checked by the compiler alone.
import { expectTypeOf } from 'expect-type'
import type { Account, File, HotBackupError, Master, Transaction } from '../../src/index.ts'

declare const master: Master
declare const account: Account
declare const file: File
declare const error: HotBackupError

expectTypeOf(master.account('A')).toEqualTypeOf<Account>()
expectTypeOf(account.file('F')).toEqualTypeOf<File>()
expectTypeOf(file.read('id')).resolves.toEqualTypeOf<Buffer | null>()
expectTypeOf(file.write('id', new Uint8Array())).resolves.toBeVoid()
expectTypeOf(master.transaction(() => 7)).resolves.toEqualTypeOf<number>()
expectTypeOf(master.transaction<void>)
  .parameter(0)
  .parameter(0)
  .toEqualTypeOf<Transaction>()
expectTypeOf(error.exitCode).toEqualTypeOf<0 | 1 | 2 | 3 | 4 | 5 | 6>()
expectTypeOf(master.transaction(() => {})).resolves.toBeVoid()
expectTypeOf(master.transaction(() => ({ left: 'a' }))).resolves.toEqualTypeOf<{ left: string }>()
// @ts-expect-error A transaction is one turn: its function waits for nothing.
void master.transaction(async () => {})
// @ts-expect-error
void master.transaction(transaction => file.write(transaction.read(file, 'id') ?? '', 'x'))
// @ts-expect-error
void master.transaction((): number | Promise<number> => 7)
// @ts-expect-error
void master.transaction((): PromiseLike<number> => Promise.resolve(7))
// @ts-expect-error An item is bytes or text, not a number.
void file.write('id', 7)
