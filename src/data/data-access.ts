// How commands get at a server's data: `Caller`s that carry out its operations, and what those bring in several parts.
import { ask, type Caller, type Part } from '../control/operation.ts'
import type { Platform } from '../platform/platform.ts'
import { readOperations } from './data-operations.ts'
import { unpackItems, type PackedItem } from './packed-items.ts'

/** Runs `work` with the data of the server in `directory`, whatever state it is in (server/sessions.ts). */
export type DataAccess = <T>(
  platform: Platform,
  directory: string,
  mode: 'read' | 'write',
  work: (data: Caller) => Promise<T>,
) => Promise<T>

type Rows<O extends typeof readOperations.listAccounts | typeof readOperations.listFiles> =
  Part<O>['rows']
export type AccountRow = Rows<typeof readOperations.listAccounts>[number]
export type FileRow = Rows<typeof readOperations.listFiles>[number]

export async function listAccounts(data: Caller): Promise<AccountRow[]> {
  const all: AccountRow[] = []
  await ask(data, readOperations.listAccounts, {}, ({ rows }) => all.push(...rows))
  return all
}

export async function listFiles(data: Caller, account: string): Promise<FileRow[]> {
  const all: FileRow[] = []
  await ask(data, readOperations.listFiles, { account }, ({ rows }) => all.push(...rows))
  return all
}

/** The item-ids of a file, in no order that means anything. */
export async function* itemIds(
  data: Caller,
  account: string,
  file: string,
): AsyncGenerator<Buffer, void, undefined> {
  const { listItems } = readOperations
  for await (const { body } of data.call(listItems, { account, file })) {
    for (const { id } of unpackItems(body)) yield id
  }
}

/** All items of a file, in no order that means anything. */
export async function* allItems(
  data: Caller,
  account: string,
  file: string,
): AsyncGenerator<PackedItem, void, undefined> {
  const { scanItems } = readOperations
  for await (const { body } of data.call(scanItems, { account, file })) yield* unpackItems(body)
}
