// Reads every frame of every data file, and the catalog or the journal, and tells what is damaged (frame-sums.ts says
// how). Nothing is locked: a server may change all of it meanwhile. So what looks damaged is looked at again, with the
// catalog of then, until it has looked so for a while.
import { join } from 'node:path'
import { isHotBackupError } from '../errors.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { journalName } from './checkpoint.ts'
import { openFrames, type CheckedDataFile } from './frame-check.ts'
import { frameBytes } from './frame.ts'
import { catalogDataFiles, recover } from './recover.ts'

export interface DatabaseDamage {
  readonly path: string
  readonly offset: number
  /** Null: it is the catalog or the journal. */
  readonly account: string | null
  readonly file: string | null
  /** Whose items the frame holds; null when it is one of overflow or of a big value. */
  readonly group: number | null
  /** Null likewise. */
  readonly frame: FramePlace | null
  readonly message: string
}

/** A frame of a file's data. */
export interface FramePlace {
  readonly fileNumber: number
  readonly generation: number
  readonly frame: number
}

export interface ScrubTempo {
  /** Hears of every piece that was read, and may make the reader wait. */
  took(bytes: number): Promise<void>
  /** Resolves when it is worth while to look again. */
  lookAgain(): Promise<void>
}

/** A server writes frames in place for a moment only. */
const looksMax = 10

/** A data file as the catalog has it at the moment. */
interface Named extends CheckedDataFile {
  readonly name: string
  readonly account: string
}

interface Suspect {
  readonly name: string
  readonly frame: number
}

export async function scrubDatabase(
  disk: Disk,
  directory: string,
  tempo: ScrubTempo,
): Promise<readonly DatabaseDamage[]> {
  return new DatabaseScrub(disk, directory, tempo).run()
}

class DatabaseScrub {
  readonly #disk: Disk
  readonly #directory: string
  readonly #tempo: ScrubTempo

  constructor(disk: Disk, directory: string, tempo: ScrubTempo) {
    this.#disk = disk
    this.#directory = directory
    this.#tempo = tempo
  }

  async run(): Promise<readonly DatabaseDamage[]> {
    try {
      const suspects: Suspect[] = []
      const named = await this.#named()
      for (const file of named.values()) suspects.push(...(await this.#faults(file)))
      return await this.#confirmed(suspects)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
      const { path = this.#directory, offset = 0 } = error.place
      const nowhere = { account: null, file: null, group: null, frame: null }
      return [{ path, offset, ...nowhere, message: error.message }]
    }
  }

  /** The data files by name. Files that come and go with a server's work are no damage. */
  async #named(): Promise<ReadonlyMap<string, Named>> {
    for (let looks = 1; ; looks++) {
      try {
        const { catalog, journal, overlays } = await recover(this.#disk, this.#directory, true)
        await journal?.close()
        const named = new Map<string, Named>()
        const journalPath = join(this.#directory, journalName)
        for (const { name, file: entry } of catalogDataFiles(catalog)) {
          const account = catalog.accounts[entry.account] ?? ''
          const path = join(this.#directory, name)
          const newer = overlays.get(path) ?? new Map<number, number>()
          named.set(name, { name, account, path, entry, newer, journalPath })
        }
        return named
      } catch (error) {
        const passing = isNotFound(error) || isHotBackupError(error, 'ERR_DATABASE_CORRUPT')
        if (!passing || looks === looksMax) throw error
        await this.#tempo.lookAgain()
      }
    }
  }

  async #faults(named: Named): Promise<Suspect[]> {
    const frames = await openFrames(this.#disk, named)
    try {
      const faults = await frames.faults(bytes => this.#tempo.took(bytes))
      return faults.map(({ frame }) => ({ name: named.name, frame }))
    } finally {
      await frames.close()
    }
  }

  async #confirmed(suspects: readonly Suspect[]): Promise<DatabaseDamage[]> {
    let left = suspects
    let damages: DatabaseDamage[] = []
    for (let looks = 1; left.length > 0 && looks <= looksMax; looks++) {
      await this.#tempo.lookAgain()
      const named = await this.#named()
      damages = []
      const still: Suspect[] = []
      for (const suspect of left) {
        const file = named.get(suspect.name)
        const damage = file === undefined ? null : await this.#damage(file, suspect.frame)
        if (damage === null) continue
        damages.push(damage)
        still.push(suspect)
      }
      left = still
    }
    return damages
  }

  async #damage(named: Named, frame: number): Promise<DatabaseDamage | null> {
    const { path, account, entry } = named
    const frames = await openFrames(this.#disk, named)
    let fault
    try {
      fault = await frames.fault(frame)
    } finally {
      await frames.close()
    }
    if (fault === null) return null
    const group = frame < entry.modulo ? frame : null
    const isPage = entry.sumsPlaces.some(place => place.frame === frame)
    const other = isPage ? 'a page of checksums' : 'a frame of overflow or of a big value'
    const what = group === null ? other : `group ${group}`
    return {
      path,
      offset: frame * frameBytes,
      account,
      file: entry.name,
      group,
      frame: { fileNumber: entry.fileNumber, generation: entry.number, frame },
      message: `${account} ${entry.name}, ${what}: frame ${frame} ${fault}`,
    }
  }
}
