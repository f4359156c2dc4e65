// What opening a database does with what the last owner, or a crash, has left in its directory.
//
//   journal         catalog                          decision
//   to be put       of the one before it, of this    finish it (read-only: read it over the data files); whoever wrote
//   in place        one, lost or damaged             it may have been killed before its name was durable
//   in place        of this one                      go on, once that it is in place is durable
//   none            of a database without items      go on: no checkpoint has come so far
//   none            none, and no data files          a new database: write an empty catalog
//   in place, none  lost or damaged                  ERR_DATABASE_CORRUPT
//   anything else   any                              prove it, see below
//
// Then data files that the catalog does not name are removed, and half a journal that has not got its name.
//
// A journal that is missing, damaged, or of another checkpoint or database may have been half in place. So nothing is
// believed: every frame of every data file is compared with its checksum. If they are all as the catalog says, no
// journal is half in place, or all of it is, and the database goes on. Else it is a mix of two states, which nobody can
// take apart: ERR_DATABASE_CORRUPT. A slave takes a copy then, and for a master a slave takes over.
import { dirname, join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { historyStart } from '../log/chain.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import { type Disk, type DiskFile } from '../platform/disk.ts'
import {
  catalogBytesMax,
  decodeCatalog,
  encodeCatalog,
  noJournal,
  type Catalog,
  type CatalogFile,
  type JournalId,
} from './catalog.ts'
import { catalogName, journalName } from './checkpoint.ts'
import { dataFileName, isDataFileName } from './data-file-name.ts'
import { countFaults } from './frame-check.ts'
import { frameBytes } from './frame.ts'
import { atOnce, writeInPlace } from './in-place.ts'
import { freshPath, JournalReader, writeInPlaceMark } from './journal.ts'

export interface Recovered {
  readonly catalog: Catalog
  /** Read-only: a complete journal, and by path of the data file where its frames lie in it. */
  readonly journal: DiskFile | null
  readonly overlays: ReadonlyMap<string, ReadonlyMap<number, number>>
}

const emptyCatalog: Catalog = {
  stamp: historyStart,
  journal: noJournal,
  nextFileNumber: 1,
  nextGeneration: 1,
  accounts: [],
  files: [],
  ahead: [],
  damaged: [],
}

/** A running server goes from one checkpoint to the next between two looks; what is wrong is wrong at the next, too. */
const looksMax = 3

/** What lies in the directory. */
interface Found {
  /** Open; null when there is none, or it is damaged. */
  readonly journal: JournalReader | null
  /** Null when it is lost or damaged. */
  readonly catalog: Catalog | null
  readonly catalogFault: HotBackupError | null
  /** Why it is unknown whether a journal is half in place. */
  readonly doubt: HotBackupError | null
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
  let found = await look(disk, directory)
  for (let looks = 1; found.doubt !== null && looks < looksMax; looks++) {
    await found.journal?.close()
    found = await look(disk, directory)
  }
  let { catalog, catalogFault, doubt } = found
  const { journal } = found
  let overlaid = false
  try {
    if (doubt === null && journal?.inPlace === false) {
      if (readOnly) {
        const recovered = await overlay(directory, journal)
        overlaid = true
        return recovered
      }
      catalog = await finishJournal(disk, directory, journal)
      catalogFault = null
    }
    // Whoever wrote that may have been killed before it was durable: the journal would come back over later files.
    if (doubt === null && journal?.inPlace === true && !readOnly) await journal.settle(disk)
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
    doubt = error
  } finally {
    if (!overlaid) await journal?.close()
  }
  if (catalogFault !== null) throw catalogFault
  return withCatalog(disk, directory, readOnly, catalog, doubt)
}

async function look(disk: Disk, directory: string): Promise<Found> {
  const path = join(directory, journalName)
  let journal: JournalReader | null = null
  let doubt: HotBackupError | null = null
  try {
    journal = await JournalReader.open(disk, path)
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
    doubt = error
  }
  try {
    const catalog = await readCatalog(disk, directory, journal !== null || doubt !== null)
    doubt ??= doubtOf(path, journal, catalog?.journal ?? noJournal)
    return { journal, catalog, catalogFault: null, doubt }
  } catch (error) {
    // The journal holds the catalog that comes next.
    const catalogFault = isHotBackupError(error, 'ERR_DATABASE_CORRUPT') ? error : null
    if (catalogFault !== null) return { journal, catalog: null, catalogFault, doubt }
    await journal?.close()
    throw error
  }
}

/** Null: a new database. Throws ERR_DATABASE_CORRUPT when it is lost or damaged. */
async function readCatalog(
  disk: Disk,
  directory: string,
  hasJournal: boolean,
): Promise<Catalog | null> {
  const path = join(directory, catalogName)
  const bytes = await readState(disk, path, catalogBytesMax)
  if (bytes !== null) return decodeCatalog(bytes, path)
  const dataFiles = (await disk.list(directory)).filter(entry => isDataFileName(entry.name))
  if (dataFiles.length === 0 && !hasJournal) return null
  const and = hasJournal ? 'a journal' : `${dataFiles.length} data files`
  const message = `${directory} has ${and} and no catalog`
  throw new HotBackupError('ERR_DATABASE_CORRUPT', message, { path })
}

/** What is wrong about the journal, with that catalog; null when nothing is. */
function doubtOf(
  path: string,
  journal: JournalReader | null,
  catalogs: JournalId,
): HotBackupError | null {
  const doubt = (what: string) => new HotBackupError('ERR_DATABASE_CORRUPT', what, { path })
  if (journal === null) {
    if (same(catalogs, noJournal)) return null
    return doubt(`${path} is missing, and the catalog goes with journal ${catalogs.number}`)
  }
  const { id, base, inPlace } = journal
  if (same(id, catalogs) || (!inPlace && same(base, catalogs))) return null
  const text = `${path} is journal ${id.number}, and the catalog goes with journal ${catalogs.number}`
  return doubt(`${text}: one of them is of another checkpoint, or of another database`)
}

function same(a: JournalId, b: JournalId): boolean {
  return a.number === b.number && a.crc === b.crc
}

async function withCatalog(
  disk: Disk,
  directory: string,
  readOnly: boolean,
  found: Catalog | null,
  doubt: HotBackupError | null,
): Promise<Recovered> {
  // Before the first data file can be: from now on a catalog that is missing has been lost.
  if (found === null && !readOnly) {
    await writeFileAtomic(disk, join(directory, catalogName), encodeCatalog(emptyCatalog))
  }
  const catalog = found ?? emptyCatalog
  const names = (await disk.list(directory)).map(entry => entry.name)
  const dataFiles = names.filter(isDataFileName)
  const named = namedFiles(directory, catalog, new Set(dataFiles))
  if (doubt !== null) await prove(disk, directory, catalog, doubt)
  if (!readOnly) {
    const journal = join(directory, journalName)
    if (doubt !== null) await writeInPlaceMark(disk, journal, catalog.journal)
    // Whoever renamed it may have been killed before it was durable, and the log that it does not need may go now.
    await disk.syncDirectory(directory)
    const unnamed = dataFiles.filter(name => !named.has(name))
    const halves = [freshPath(journalName), `${catalogName}.tmp`]
    const leftovers = names.filter(name => halves.includes(name))
    for (const name of [...unnamed, ...leftovers]) await disk.remove(join(directory, name))
    // A data file of that name may be made anew, and must not come back after a crash.
    if (unnamed.length + leftovers.length > 0) await disk.syncDirectory(directory)
  }
  return { catalog, journal: null, overlays: new Map() }
}

/** No journal is half in place. */
async function prove(
  disk: Disk,
  directory: string,
  catalog: Catalog,
  doubt: HotBackupError,
): Promise<void> {
  const journalPath = join(directory, journalName)
  let faults = 0
  for (const { name, file: entry } of catalogDataFiles(catalog)) {
    const path = join(directory, name)
    faults += await countFaults(disk, { path, entry, newer: new Map(), journalPath })
  }
  if (faults === 0) return
  const text = `${doubt.message}; ${faults} frames of the data files are not as the catalog says, so a checkpoint is half in place`
  throw new HotBackupError('ERR_DATABASE_CORRUPT', text, doubt.place, doubt)
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

/** All data files that a catalog names: a copy of a database needs these. */
export function catalogDataFiles(catalog: Catalog): NamedDataFile[] {
  return catalog.files.map(file => ({
    name: dataFileName(file.fileNumber, file.number),
    diskFrames: file.diskFrames,
    file,
  }))
}

/** Returns the catalog that stands now. */
async function finishJournal(
  disk: Disk,
  directory: string,
  journal: JournalReader,
): Promise<Catalog> {
  const bytes = await journal.catalog()
  const catalog = decodeCatalog(bytes, journal.file.path)
  // All of it is read once before anything is changed.
  for await (const _ of journal.pieces());
  // Whoever renamed it may have been killed before its name was durable: from here on a power failure must find it.
  await disk.syncDirectory(directory)
  await writeInPlace(disk, directory, journal, atOnce)
  await writeFileAtomic(disk, join(directory, catalogName), bytes)
  await journal.settle(disk)
  return catalog
}

async function overlay(directory: string, journal: JournalReader): Promise<Recovered> {
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
}
