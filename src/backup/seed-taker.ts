// A slave takes a copy of its master's database into DIR/seed, piece by piece; it is whole when the manifest says so.
// Then the server is stopped, the copy takes the place of log and database, and the server starts anew with it. The
// old ones stay untouched until the copy has been checked.
//
//   seed/state.json    which copy it is, and up to where it is durable
//   seed/manifest.json, seed/database/, seed/log/
//   seed/COMPLETE      it has been checked: the next start puts it in place (seed-install.ts)
import path from 'node:path'
import * as v from 'valibot'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { sameIdentity } from '../log/chain.ts'
import { identityBytes } from '../log/segment.ts'
import type { LogWriter } from '../log/writer.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { DiskFile } from '../platform/disk.ts'
import { hashFile } from '../platform/file-copy.ts'
import type { SeedPlace, SeedTaker } from '../slave/seed-session.ts'
import type { Seed, SeedImage } from '../wire/messages/seed.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { isDatabaseFile, removeOwnBelow, sizeOfOwn } from '../config/own-files.ts'
import { checkDigests, fileFault, manifestName, parseManifest, type Manifest } from './manifest.ts'
import { contentOf, type SavePlatform } from './save.ts'
import { completeName, isSeedFile, stateName } from './seed-files.ts'

/** The list of a copy's files is read in one piece. */
const manifestBytesMax = 256 * MiB
/** So much may have come and not be durable. */
const undurableBytesMax = 8 * MiB

const stateSchema = v.object({
  image: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  offset: v.pipe(v.number(), v.integer(), v.minValue(0)),
  totalBytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
  manifestBytes: v.pipe(v.number(), v.integer(), v.minValue(1)),
})
type State = v.InferOutput<typeof stateSchema>

export interface SeedTakerOptions {
  readonly name: string
  /** A copy is taken without an operator's order. */
  readonly auto: () => boolean
  readonly log: LogWriter
  /** The database here is damaged: a copy is of use although the log leads on. */
  readonly damaged: () => boolean
  /** A checked copy waits for the server to start anew. */
  readonly completed: () => void
}

const nothing: SeedPlace = { imageId: new Uint8Array(identityBytes), offset: 0 }

export class DirectorySeedTaker implements SeedTaker {
  readonly #platform: SavePlatform
  readonly #root: Layout
  readonly #options: SeedTakerOptions
  #state: State | null = null
  #manifest: Manifest | null = null
  /** What has come of the manifest, until it is whole. */
  #manifestParts: Uint8Array[] = []
  /** Bytes that have come, durable or not. */
  #offset = 0
  #undurableBytes = 0
  #complete = false
  /** Somebody gives a copy now, or will as soon as it has been made. */
  #offered = false
  #file: { readonly index: number; readonly handle: DiskFile } | null = null
  /** One call after the other, also of two connections. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(platform: SavePlatform, layout: Layout, options: SeedTakerOptions) {
    this.#platform = platform
    this.#root = layoutOf(layout.seed)
    this.#options = options
  }

  /**
   * A copy never takes the place of something that the master does not know of: a foreign database, a later timeline,
   * another history of the same one, or more transactions than it has itself.
   */
  admit(seed: Seed): HotBackupError | null {
    const { log, auto } = this.#options
    const { identity, lastTxn } = log
    const theirs = `"${seed.serverName}" holds transaction ${seed.durableTxn} of timeline ${seed.timeline}`
    const refuse = (
      code: 'ERR_LINK_SEED' | 'ERR_LINK_FOREIGN' | 'ERR_LINK_DIVERGED',
      why: string,
    ) => new HotBackupError(code, `${why}; ${theirs}, this slave transaction ${lastTxn}`)
    if (!auto() && !seed.ordered) {
      return refuse('ERR_LINK_SEED', 'auto_seed is off here: "hb seed" on the master orders a copy')
    }
    if (identity === null) return null
    if (!sameIdentity(seed.databaseId, identity.databaseId)) {
      return refuse('ERR_LINK_FOREIGN', 'the copy would be of another database')
    }
    const same = sameIdentity(seed.lineageId, identity.lineageId)
    if (seed.timeline < identity.timeline || (seed.timeline === identity.timeline && !same)) {
      return refuse('ERR_LINK_DIVERGED', 'the copy would be of another history')
    }
    if (same && seed.durableTxn < lastTxn) {
      return refuse('ERR_LINK_DIVERGED', 'the copy would take transactions away')
    }
    if (seed.ordered) return null
    // By itself it gives up only what the master is sure to have; a slave that has begun and holds nothing has nothing.
    if (!same && lastTxn > 0)
      return refuse('ERR_LINK_DIVERGED', 'a later timeline needs an order by "hb seed"')
    if (this.#options.damaged()) return null
    if (lastTxn + 1 >= seed.firstTxn) return refuse('ERR_LINK_SEED', 'the log leads on from here')
    return null
  }

  /**
   * What this slave holds behind that transaction must stay in its log: it has been acknowledged, and the copy that
   * will take the place of the rest lacks it. Infinity when no copy is under way.
   */
  get neededAfter(): number {
    if (this.#manifest !== null) return this.#manifest.lastTxn
    return this.#offered || this.#state !== null ? 0 : Infinity
  }

  place(): Promise<SeedPlace> {
    this.#offered = true
    return this.#inTurn(async () => {
      const state = (this.#state ??= await this.#readState())
      if (state === null) return nothing
      return { imageId: Buffer.from(state.image, 'hex'), offset: state.offset }
    })
  }

  begin(image: SeedImage): Promise<void> {
    return this.#inTurn(async () => {
      if (image.manifestBytes < 1 || image.manifestBytes > manifestBytesMax) {
        throw new HotBackupError('ERR_WIRE', `a manifest of ${image.manifestBytes} bytes`)
      }
      await this.#closeFile()
      const id = Buffer.from(image.imageId).toString('hex')
      if (image.offset === 0) await this.#beginNew(id, image)
      else if (this.#state?.image !== id || this.#state.offset !== image.offset) {
        throw new HotBackupError('ERR_WIRE', 'the copy goes on where this slave is not')
      } else await this.#goOn(this.#state)
      this.#undurableBytes = 0
    })
  }

  async #beginNew(image: string, { totalBytes, manifestBytes }: SeedImage): Promise<void> {
    const { disk } = this.#platform
    const free = await disk.freeBytes(path.dirname(this.#root.directory))
    const complete = path.join(this.#root.directory, completeName)
    if (await disk.exists(complete)) {
      // First, or half of it would be taken for whole after a crash.
      await disk.remove(complete)
      await disk.syncDirectory(this.#root.directory)
    }
    this.#complete = false
    await removeOwnBelow(disk, this.#root.directory, isSeedFile)
    await this.#checkRoom(totalBytes)
    if (totalBytes > free) {
      const message = `the copy has ${totalBytes} bytes, and ${free} are free`
      throw new HotBackupError('ERR_DISK_FULL', message, { path: this.#root.directory })
    }
    for (const made of [this.#root.directory, this.#root.database, this.#root.log]) {
      await disk.makeDirectory(made)
    }
    this.#state = { image, offset: 0, totalBytes, manifestBytes }
    this.#manifest = null
    this.#manifestParts = []
    this.#offset = 0
  }

  /** The database may lie on a disk of its own, where the copy takes the place of what is there. */
  async #checkRoom(totalBytes: number): Promise<void> {
    const { disk } = this.#platform
    const { database } = layoutOf(path.dirname(this.#root.directory))
    if (!(await disk.exists(database))) return
    const room =
      (await disk.freeBytes(database)) + (await sizeOfOwn(disk, database, isDatabaseFile))
    if (totalBytes <= room) return
    const message = `the copy has ${totalBytes} bytes, and ${room} are free or will be`
    throw new HotBackupError('ERR_DISK_FULL', message, { path: database })
  }

  /** What lies behind the durable offset comes again. */
  async #goOn(state: State): Promise<void> {
    this.#manifest = await this.#readManifest()
    this.#offset = state.offset
  }

  async #readManifest(): Promise<Manifest> {
    const file = path.join(this.#root.directory, manifestName)
    const bytes = await readState(this.#platform.disk, file, manifestBytesMax)
    return this.#checkedManifest(bytes ?? Buffer.alloc(0))
  }

  take(offset: number, data: Uint8Array): Promise<boolean> {
    return this.#inTurn(async () => {
      const state = this.#state
      if (state === null || offset !== this.#offset || offset + data.length > state.totalBytes) {
        throw new HotBackupError(
          'ERR_WIRE',
          `a piece of the copy at ${offset}, not ${this.#offset}`,
        )
      }
      let left = data
      while (left.length > 0) {
        const count = await this.#takePart(state, left)
        left = left.subarray(count)
        this.#offset += count
        this.#undurableBytes += count
      }
      const whole = this.#offset === state.totalBytes
      if (this.#manifest === null || (!whole && this.#undurableBytes < undurableBytesMax))
        return false
      await this.#makeDurable(state)
      return true
    })
  }

  /** Returns how much of it belongs to one file. */
  async #takePart(state: State, data: Uint8Array): Promise<number> {
    if (this.#manifest === null) {
      const part = data.subarray(0, state.manifestBytes - this.#offset)
      this.#manifestParts.push(Buffer.from(part))
      if (this.#offset + part.length === state.manifestBytes) {
        const bytes = Buffer.concat(this.#manifestParts)
        this.#manifestParts = []
        this.#manifest = this.#checkedManifest(bytes)
        const { disk } = this.#platform
        await writeFileAtomic(disk, path.join(this.#root.directory, manifestName), bytes)
      }
      return part.length
    }
    let start = state.manifestBytes
    for (const [index, { path: name, bytes }] of this.#manifest.files.entries()) {
      if (this.#offset < start + bytes) {
        const at = this.#offset - start
        const count = Math.min(data.length, bytes - at)
        const file = await this.#open(index, name, at)
        await file.write(data, 0, count, at)
        return count
      }
      start += bytes
    }
    throw new HotBackupError('ERR_WIRE', 'the copy has more bytes than its manifest')
  }

  async #open(index: number, name: string, at: number): Promise<DiskFile> {
    if (this.#file?.index === index) return this.#file.handle
    await this.#closeFile()
    const { disk } = this.#platform
    const file = path.join(this.#root.directory, name)
    if (at === 0) await disk.remove(file)
    const handle = await disk.open(file, at === 0 ? 'create' : 'write')
    if (at > 0) await handle.truncate(at)
    this.#file = { index, handle }
    return handle
  }

  /** Syncs before it closes: what `makeDurable` has to do then is the last file alone. */
  async #closeFile(): Promise<void> {
    const file = this.#file
    this.#file = null
    if (file === null) return
    try {
      await file.handle.sync()
    } finally {
      await file.handle.close()
    }
  }

  async #makeDurable(state: State): Promise<void> {
    const { disk } = this.#platform
    await this.#file?.handle.sync()
    await disk.syncDirectory(this.#root.database)
    await disk.syncDirectory(this.#root.log)
    this.#state = { ...state, offset: this.#offset }
    this.#undurableBytes = 0
    await this.#writeState(this.#state)
  }

  complete(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#closeFile()
      const { disk } = this.#platform
      const { directory } = this.#root
      const manifest = this.#manifest
      if (manifest === null) throw new HotBackupError('ERR_WIRE', 'a copy without a manifest')
      try {
        // A file without bytes has not come by itself.
        for (const { path: name, bytes } of manifest.files) {
          if (bytes > 0) continue
          await disk.remove(path.join(directory, name))
          await (await disk.open(path.join(directory, name), 'create')).close()
        }
        for (const file of manifest.files) {
          const found = await hashFile(disk, path.join(directory, file.path), idle)
          if (found?.sha256 !== file.sha256)
            throw fileFault(directory, file, found?.sha256 ?? 'none')
        }
        const content = await contentOf(this.#platform, this.#root, async () => {})
        checkDigests(manifest.digests, content.digests, directory)
      } catch (error) {
        // It would not be better the next time.
        this.#state = null
        this.#manifest = null
        await removeOwnBelow(disk, directory, isSeedFile)
        throw error
      }
      await writeFileAtomic(disk, path.join(directory, completeName), Buffer.from('checked\n'))
      this.#complete = true
    })
  }

  end(): Promise<void> {
    this.#offered = false
    return this.#inTurn(async () => {
      await this.#closeFile()
      if (this.#complete) this.#options.completed()
    })
  }

  #checkedManifest(bytes: Buffer): Manifest {
    const manifest = parseManifest(bytes.toString(), 'the manifest of the copy')
    const foreign = manifest.files.find(
      ({ path: name }) => !/^(database|log)\/[0-9a-z][0-9a-z.]*$/.test(name),
    )
    if (foreign === undefined) return manifest
    throw new HotBackupError('ERR_SAVE_CORRUPT', `the copy has a file ${foreign.path}`)
  }

  /** Null when there is nothing to go on from: nothing was kept, or the file or the manifest is damaged. */
  async #readState(): Promise<State | null> {
    const file = path.join(this.#root.directory, stateName)
    const bytes = await readState(this.#platform.disk, file, 4096)
    if (bytes === null) return null
    let state: State
    try {
      state = v.parse(stateSchema, JSON.parse(bytes.toString()))
    } catch {
      return null
    }
    try {
      if (state.offset > 0) await this.#readManifest()
      return state
    } catch (error) {
      if (isHotBackupError(error, 'ERR_SAVE', 'ERR_SAVE_CORRUPT')) return null
      throw error
    }
  }

  async #writeState(state: State): Promise<void> {
    const text = `${JSON.stringify(state)}\n`
    const file = path.join(this.#root.directory, stateName)
    await writeFileAtomic(this.#platform.disk, file, Buffer.from(text))
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }
}

const idle = { took: async () => {} }
