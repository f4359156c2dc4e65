// What a database shows, item by item, and whether it is what the model says. The database that a process has open is
// read by the ids of items, and scanned besides; one that lies on a disk is decoded (database-decoder.ts).
import type { Database } from '../../src/database/database.ts'
import type { HashedFile } from '../../src/database/hashed-file.ts'
import { decodeDatabase, Undecodable } from './database-decoder.ts'
import { valueText, type State } from './model.ts'
import type { SimDisk } from './world/disk.ts'

/** All ids that applications use: what has none of them is no item of theirs. */
export const itemIds: readonly string[] = Array.from({ length: 25 }, (_, number) => `i${number}`)

interface FileContents {
  readonly modulo: number
  /** Null while it is not known. */
  readonly count: number | null
  /** By item-id, as latin1. */
  readonly items: ReadonlyMap<string, Buffer>
  /** Why it is not what it seems; null when it is. */
  readonly fault: string | null
}

export interface Contents {
  readonly accounts: readonly string[]
  /** By ACCOUNT/FILE. */
  readonly files: ReadonlyMap<string, FileContents>
}

/** Throws what reading throws. */
export function contentsOf(database: Database): Contents {
  const accounts = database.accounts()
  const files = accounts.flatMap(account => database.files(account))
  const named = files.map(file => [`${file.account}/${file.name}`, fileContents(file)] as const)
  return { accounts, files: new Map(named) }
}

function fileContents(file: HashedFile): FileContents {
  const items = new Map<string, Buffer>()
  for (const id of itemIds) {
    const value = file.read(Buffer.from(id))
    if (value !== null) items.set(id, value)
  }
  const left = new Set(items.keys())
  let fault: string | null = null
  file.scan(0, Infinity, (idBytes, value) => {
    const id = idBytes.toString('latin1')
    if (left.delete(id) && items.get(id)!.equals(value)) return
    fault ??= `a scan shows ${id} as ${valueText(value)}, a read does not`
  })
  const [unseen] = left
  if (unseen !== undefined) fault ??= `a scan leaves out ${unseen}`
  const { modulo, counted, itemCount } = file
  return { modulo, count: counted ? itemCount : null, items, fault }
}

/** What the next start would find; null when nothing has been written yet. A text: why that is damaged. */
export function storedContents(
  disk: SimDisk,
  directory: string,
): (Contents & { readonly txn: number }) | string | null {
  try {
    const database = decodeDatabase(disk, directory)
    if (database === null) return null
    const { txn, accounts } = database
    const there = [...database.files].filter(([, { absent }]) => !absent)
    const files = new Map(there.map(([name, file]) => [name, { ...file, fault: null }]))
    return { txn, accounts, files }
  } catch (error) {
    if (error instanceof Undecodable) return error.message
    throw error
  }
}

const notReplicated = 3
const filling = 4

/**
 * In which way the contents differ; null when they do not. `strict`: of a slave, which has nothing of a file that is
 * not replicated.
 */
export function difference(contents: Contents, state: State, strict: boolean): string | null {
  const accounts = [...contents.accounts].sort().join()
  const expected = [...state.accounts].sort().join()
  if (accounts !== expected) return `accounts "${accounts}", expected "${expected}"`
  const there = new Set(contents.files.keys())
  for (const [name, { modulo, flags, items }] of state.files) {
    const file = contents.files.get(name)
    there.delete(name)
    if ((flags & notReplicated) !== 0) {
      if (strict && file !== undefined) return `${name} is not replicated, and is here`
      // A server that was a slave when it was made has it not, and another has what it had then.
      if (strict || file === undefined) continue
    }
    if (file === undefined) return `${name} is missing`
    // While it is filled a slave may have less of it.
    if ((flags & filling) !== 0) continue
    if (file.fault !== null) return `${name}: ${file.fault}`
    if (file.modulo !== modulo) return `${name} has modulo ${file.modulo}, expected ${modulo}`
    if (file.count !== null && file.count !== items.size) {
      return `${name} counts ${file.count} items, expected ${items.size}`
    }
    for (const id of new Set([...items.keys(), ...file.items.keys()])) {
      const [value, wanted] = [file.items.get(id), items.get(id)]
      if (value !== undefined && wanted?.equals(value) === true) continue
      return `${name} ${id} is ${shown(value)}, expected ${shown(wanted)}`
    }
  }
  const [extra] = there
  return extra === undefined ? null : `${extra} is here and should not be`
}

function shown(value: Buffer | undefined): string {
  return value === undefined ? 'nothing' : valueText(value)
}
