// What opening a database does with what the last owner, or a crash, has left in its directory.
//
//   journal      catalog  data files   decision
//   complete     any      any          finish the journal (read-only: read it over the data files); it was
//                                      complete for whoever reads it, and is made durable first
//   incomplete   any      any          drop it, then as without
//   none         valid    any          go on; data files that it does not name are removed
//   none         none     none         a new database: write an empty catalog
//   none         none     some         ERR_DATABASE_CORRUPT: the catalog is lost
//
// "Any" catalog with a complete journal is right, because the journal holds the catalog that comes next.
import { dirname, join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { historyStart } from '../log/chain.ts'
import { readFile, writeFileAtomic } from '../platform/atomic-file.ts'
import { type Disk, type DiskFile } from '../platform/disk.ts'
import {
  catalogBytesMax,
  decodeCatalog,
  encodeCatalog,
  type Catalog,
  type CatalogFile,
} from './catalog.ts'
import { catalogName, journalName } from './checkpoint.ts'
import { dataFileName, isDataFileName } from './data-files.ts'
import { frameBytes } from './frame.ts'
import { atOnce, writeInPlace } from './in-place.ts'
import { JournalReader } from './journal.ts'

export interface Recovered {
  readonly catalog: Catalog
  /** Read-only: a complete journal, and by path of the data file where its frames lie in it. */
  readonly journal: DiskFile | null
  readonly overlays: ReadonlyMap<string, ReadonlyMap<number, number>>
}

const emptyCatalog: Catalog = {
  stamp: historyStart,
  nextFileNumber: 1,
  nextGeneration: 1,
  accounts: [],
  files: [],
  ahead: [],
  damaged: [],
}

/** Throws ERR_DATABASE_CORRUPT, ERR_LOG_VERSION, ERR_DISK, ERR_DISK_FULL. */
export async function recover(
  disk: Disk,
  directory: string,
  readOnly: boolean,
): Promise<Recovered> {
  if (!readOnly) {
    await disk.makeDirectory(directory)
    await disk.syncDirectory(dirname(directory))
  }
  const journal = await JournalReader.open(disk, join(directory, journalName))
  if (journal !== null && readOnly) return overlay(directory, journal)
  if (journal !== null) await finishJournal(disk, directory, journal)
  const names = (await disk.list(directory)).map(entry => entry.name)
  const dataFiles = names.filter(isDataFileName)
  const catalog = await readCatalog(disk, directory, readOnly, dataFiles)
  const named = namedFiles(directory, catalog, new Set(dataFiles))
  if (!readOnly) {
    // Whoever renamed it may have been killed before it was durable, and the log that it does not need may go now.
    await disk.syncDirectory(directory)
    const unnamed = dataFiles.filter(name => !named.has(name))
    const leftovers = names.filter(name => name === journalName || name === `${catalogName}.tmp`)
    for (const name of [...unnamed, ...leftovers]) await disk.remove(join(directory, name))
    // A data file of that name may be made anew, and must not come back after a crash.
    if (unnamed.length + leftovers.length > 0) await disk.syncDirectory(directory)
  }
  return { catalog, journal: null, overlays: new Map() }
}

async function readCatalog(
  disk: Disk,
  directory: string,
  readOnly: boolean,
  dataFiles: readonly string[],
): Promise<Catalog> {
  const path = join(directory, catalogName)
  const bytes = await readFile(disk, path, catalogBytesMax)
  if (bytes !== null) return decodeCatalog(bytes, path)
  if (dataFiles.length > 0) {
    const message = `${directory} has ${dataFiles.length} data files and no catalog`
    throw new HotBackupError('ERR_DATABASE_CORRUPT', message, { path })
  }
  // Before the first data file can be: from now on a catalog that is missing has been lost.
  if (!readOnly) await writeFileAtomic(disk, path, encodeCatalog(emptyCatalog))
  return emptyCatalog
}

/** The data files that the catalog names. Throws ERR_DATABASE_CORRUPT when one of them is not there. */
function namedFiles(
  directory: string,
  catalog: Catalog,
  present: ReadonlySet<string>,
): Set<string> {
  const named = new Set<string>()
  for (const { name, diskFrames, file } of catalogDataFiles(catalog)) {
    named.add(name)
    if (diskFrames === 0 || present.has(name)) continue
    const path = join(directory, name)
    const message = `${path}, the data file of ${catalog.accounts[file.account]} ${file.name}, is missing`
    throw new HotBackupError('ERR_DATABASE_CORRUPT', message, { path })
  }
  return named
}

/** A data file that a catalog names, and whose it is. It has `diskFrames` frames at least, and none when it is 0. */
export interface NamedDataFile {
  readonly name: string
  readonly diskFrames: number
  readonly file: CatalogFile
}

/** All data files that a catalog names: whoever copies a database copies these. */
export function catalogDataFiles(catalog: Catalog): NamedDataFile[] {
  return catalog.files.map(file => ({
    name: dataFileName(file.fileNumber, file.number),
    diskFrames: file.diskFrames,
    file,
  }))
}

async function finishJournal(disk: Disk, directory: string, journal: JournalReader): Promise<void> {
  try {
    const bytes = await journal.catalog()
    const path = join(directory, catalogName)
    decodeCatalog(bytes, journal.file.path)
    // All of it is read once before anything is changed.
    for await (const _ of journal.pieces());
    // From here on a power failure must find it.
    await journal.commitAgain(disk)
    await disk.syncDirectory(directory)
    await writeInPlace(disk, directory, journal, atOnce)
    await writeFileAtomic(disk, path, bytes)
  } finally {
    await journal.close()
  }
  await disk.remove(join(directory, journalName))
  await disk.syncDirectory(directory)
}

async function overlay(directory: string, journal: JournalReader): Promise<Recovered> {
  try {
    const catalog = decodeCatalog(await journal.catalog(), journal.file.path)
    const overlays = new Map<string, Map<number, number>>()
    for (const file of catalog.files) {
      overlays.set(join(directory, dataFileName(file.fileNumber, file.number)), new Map())
    }
    for await (const { bytes, frames, offset } of journal.pieces()) {
      for (let i = 0; i < frames; i++) {
        const at = i * frameBytes
        const name = dataFileName(bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12))
        const frame = bytes.readUInt32LE(at + 16)
        overlays.get(join(directory, name))?.set(frame, offset + at)
      }
    }
    return { catalog, journal: journal.file, overlays }
  } catch (error) {
    await journal.close()
    throw error
  }
}
