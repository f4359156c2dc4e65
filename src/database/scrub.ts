// Reads every frame of every data file, and the catalog or the journal, and tells what is damaged. Nothing is locked: a
// server may change all of it meanwhile. So what looks damaged is looked at again, with the catalog of then, until it
// has looked so for a while. A frame of zeros in the place of another is not found here, but by verification, which
// compares the items.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { readFault, unreadableFault } from './data-files.ts'
import { frameBytes, Slab } from './frame.ts'
import { catalogDataFiles, recover, type NamedDataFile } from './recover.ts'

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

const pieceFrames = 256
/** A server writes frames in place for a moment only. */
const looksMax = 10

/** A data file as the catalog has it at the moment. */
interface Named extends NamedDataFile {
  readonly account: string
  /** Frames for which the journal has newer ones. */
  readonly newer: ReadonlyMap<number, number>
  /** Behind the last of them: what lies between the end of the file and that was never written. */
  readonly newerEnd: number
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
  readonly #slab = new Slab(pieceFrames)

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
        for (const found of catalogDataFiles(catalog)) {
          const account = catalog.accounts[found.file.account] ?? ''
          const newer = overlays.get(join(this.#directory, found.name)) ?? new Map<number, number>()
          const newerEnd = [...newer.keys()].reduce((end, frame) => Math.max(end, frame + 1), 0)
          named.set(found.name, { ...found, account, newer, newerEnd })
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
    const { name } = named
    const found: Suspect[] = []
    await this.#reading(name, async file => {
      const frames = Math.floor(file.size() / frameBytes)
      for (let at = 0; at < frames; at += pieceFrames) {
        const count = Math.min(pieceFrames, frames - at)
        const readable = await this.#read(file, at, count)
        for (let index = 0; index < count; index++) {
          const good = readable !== null && this.#fault(named, at + index, index) === null
          // Which ones cannot be read shows when they are looked at again, one by one.
          if (!good) found.push({ name, frame: at + index })
        }
        await this.#tempo.took(count * frameBytes)
      }
      const end = Math.max(frames, named.newerEnd)
      if (end < named.diskFrames) found.push({ name, frame: end })
    })
    return found
  }

  /** Into the slab. Returns how many bytes there were; null when the disk does not give them. */
  async #read(file: DiskFile, frame: number, count: number): Promise<number | null> {
    try {
      return await file.read(this.#slab.u8, 0, count * frameBytes, frame * frameBytes)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      return null
    }
  }

  /** A frame at `index` of the slab. Never written is not damaged. */
  #fault({ file, newer }: Named, frame: number, index: number): string | null {
    if (newer.has(frame)) return null
    const word = (index * frameBytes) >> 2
    if (this.#slab.u32[word] === 0 && this.#slab.u32[word + 5] === 0 && frame >= file.modulo) {
      const { u32 } = this.#slab
      const zeros = u32.subarray(word, word + (frameBytes >> 2)).every(value => value === 0)
      return zeros ? null : 'has a wrong CRC'
    }
    return readFault(file, frame, this.#slab, index * frameBytes)
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
    const { name, account, file } = named
    let fault: string | null = null
    await this.#reading(name, async data => {
      const count = await this.#read(data, frame, 1)
      if (count === null) fault = named.newer.has(frame) ? null : unreadableFault
      else if (count === frameBytes) fault = this.#fault(named, frame, 0)
      else if (frame < named.diskFrames && frame >= named.newerEnd) fault = 'is missing'
    })
    if (fault === null) return null
    const group = frame < file.modulo ? frame : null
    const what = group === null ? 'a frame of overflow or of a big value' : `group ${group}`
    return {
      path: join(this.#directory, name),
      offset: frame * frameBytes,
      account,
      file: file.name,
      group,
      frame: { fileNumber: file.fileNumber, generation: file.number, frame },
      message: `${account} ${file.name}, ${what}: frame ${frame} ${String(fault)}`,
    }
  }

  /** A file that has gone meanwhile is one that nobody needs; the next catalog says otherwise. */
  async #reading(name: string, work: (file: DiskFile) => Promise<void>): Promise<void> {
    let file
    try {
      file = await this.#disk.open(join(this.#directory, name), 'read')
    } catch (error) {
      if (error instanceof HotBackupError && isNotFound(error)) return
      throw error
    }
    try {
      await work(file)
    } finally {
      await file.close()
    }
  }
}
