// Long work on files, which helpers do beside the server: building the next generation of a file that is resized, and
// removing large data files. This side knows what there is to do, diverts updates meanwhile (see hold.ts), and takes
// the results in. A helper never touches what the server reads.
//
// A resize, from record to end, and what a crash leaves, when the log is replayed from the stamp:
//
//   step                                                      a crash from here on leaves
//   1 the record is applied: updates go to the hold           the base; the record is applied again
//   2 a checkpoint has the whole base: the job is offered     base and hold; the job is offered again
//   3 a helper builds the target, elsewhere, and syncs it     the same; what it built is removed
//   4 its file is renamed into the database                   the same; a data file that no catalog names is removed
//   5 the target is the base, the hold is drained into it     base and hold, as of the last checkpoint: 2 or 5
//   6 the hold is empty, and gone                             likewise, until a checkpoint says so
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { type Disk } from '../platform/disk.ts'
import { type Accounts } from './accounts.ts'
import { type FrameCache } from './cache.ts'
import { dataFileName } from './data-file-name.ts'
import { type DataFiles } from './data-files.ts'
import { Examiner } from './examiner.ts'
import { frameBytes } from './frame.ts'
import { stateOf, type GenerationState } from './generation-state.ts'
import { Generation } from './generation.ts'
import { type Groups } from './group.ts'
import { hashEnd } from './hash.ts'
import { type HashedFile } from './hashed-file.ts'
import type { BuildJob, HelperJob, LongOperation, RemoveJob } from './helper-jobs.ts'
import { Hold, type HoldState } from './hold.ts'
import { FrameDamage, type Quarantine } from './quarantine.ts'

export interface LongWorkPolicy {
  /** Files whose data take at least this many bytes on the disk are work for helpers; smaller ones are done at once. */
  readonly bytes: number
}

/** A hold file, for status. */
export interface HoldSummary {
  readonly account: string
  readonly file: string
  /** Updates that were held so far. */
  readonly updates: number
  /** Of what is held: ids and values. */
  readonly bytes: number
  readonly state: 'waiting' | 'building' | 'draining'
}

export interface LongWorkParts {
  readonly disk: Disk
  readonly cache: FrameCache
  readonly dataFiles: DataFiles
  readonly groups: Groups
  readonly accounts: Accounts
  readonly quarantine: Quarantine
  /** New generations may be spilled to disk. */
  readonly mayWrite: boolean
  /** What the database does with a generation that no file has any more. */
  readonly drop: (generation: Generation) => void
}

export class LongWork {
  readonly #parts: LongWorkParts
  readonly #policy: LongWorkPolicy | null
  /** Files that have a hold. */
  readonly #files = new Set<HashedFile>()
  readonly #removals = new Map<string, RemoveJob>()
  readonly #listeners: (() => void)[] = []
  readonly #examiner: Examiner
  /** Data has moved without a transaction since the last capture, or since the one that failed. */
  #moved = false

  /** Without a policy everything is done at once, and holds that the catalog has stay as they are. */
  constructor(parts: LongWorkParts, policy: LongWorkPolicy | null) {
    this.#parts = parts
    this.#policy = policy
    this.#examiner = new Examiner(parts.accounts, parts.quarantine)
    parts.quarantine.onChange(() => {
      this.#moved = true
      this.#changed()
    })
  }

  /** `changed` is called when there may be other jobs, or something to drain. */
  onChange(changed: () => void): void {
    this.#listeners.push(changed)
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  holds(): HoldSummary[] {
    return [...this.#files].map(file => {
      const { account, name } = file
      const { updates, held, gone, draining, frozen } = file.hold!
      const state = draining ? 'draining' : frozen ? 'building' : 'waiting'
      return { account, file: name, updates, bytes: held.itemBytes + gone.itemBytes, state }
    })
  }

  // For those who apply records

  /** An empty generation for the file of that number. */
  generation(fileNumber: number, modulo: number): Generation {
    const number = this.#parts.accounts.nextGeneration++
    const generation = Generation.empty(fileNumber, number, modulo, !this.#parts.mayWrite)
    this.#parts.cache.register(generation)
    return generation
  }

  resize(file: HashedFile, modulo: number, txn: number): void {
    file.noteUpdate(txn)
    const { hold } = file
    if (this.#policy === null) this.#resizeNow(file, modulo)
    else if (hold !== null) this.#orderAnew(file, hold, modulo)
    else if (file.generation.frameCount * frameBytes < this.#policy.bytes) {
      this.#resizeNow(file, modulo)
    } else this.#begin(file, modulo)
  }

  /** Empty from now on, with that modulo. */
  clear(file: HashedFile, modulo: number, txn: number): void {
    file.noteUpdate(txn)
    file.cleared()
    this.#dropAll(file, 'clear-file')
    file.switchTo(this.generation(file.number, modulo))
    this.#parts.quarantine.forget(file.number)
  }

  /** See HashedFile.clearRange. */
  clearRange(file: HashedFile, from: number, to: number, txn: number): void {
    const { hold } = file
    if (!file.clearRange(from, to, txn) || hold === null) return
    // The base was damaged, and no helper could read it: now it is another one.
    hold.target = this.#parts.accounts.nextGeneration++
    hold.checkpoint = 0
    hold.frozen = false
    this.#changed()
  }

  delete(file: HashedFile): void {
    this.#dropAll(file, 'delete-file')
    this.#parts.quarantine.forget(file.number)
  }

  #resizeNow(file: HashedFile, modulo: number): void {
    const generation = this.generation(file.number, modulo)
    file.copyItemsTo(generation)
    this.#dropAll(file, 'resize-file')
    file.switchTo(generation)
  }

  #begin(file: HashedFile, modulo: number): void {
    const { cache, groups, accounts } = this.#parts
    // Groups cost nothing before they are written to, and with the modulo that is ordered draining is one pass.
    const held = this.generation(file.number, modulo)
    const gone = this.generation(file.number, modulo)
    const { itemCount, bytes: itemBytes } = file
    const target = accounts.nextGeneration++
    const none = { draining: false, drainedTo: 0, updates: 0 }
    const state = { modulo, target, itemCount, itemBytes, ...none }
    this.#put(file, new Hold(cache, groups, { held, gone }, state, false))
  }

  /** What is under construction is of no use any more; what is being drained is finished first. */
  #orderAnew(file: HashedFile, hold: Hold, modulo: number): void {
    hold.modulo = modulo
    if (!hold.draining) hold.target = this.#parts.accounts.nextGeneration++
    this.#put(file, hold)
  }

  #put(file: HashedFile, hold: Hold): void {
    file.hold = hold
    this.#files.add(file)
    this.#changed()
  }

  #dropAll(file: HashedFile, operation: LongOperation): void {
    const { generation, hold } = file
    this.#drop(file, generation, operation)
    if (hold === null) return
    for (const part of [hold.held, hold.gone]) this.#drop(file, part, operation)
    file.hold = null
    this.#files.delete(file)
    this.#changed()
  }

  #drop({ account, name }: HashedFile, generation: Generation, operation: LongOperation): void {
    const { dataFiles, drop } = this.#parts
    const path = dataFiles.pathOf(generation)
    const id = dataFileName(generation.fileNumber, generation.number)
    generation.removal = { kind: 'remove', id, account, file: name, operation, path }
    drop(generation)
  }

  // For checkpoints

  /** A file whose numbers the catalog does not know exactly. */
  uncounted(file: HashedFile): void {
    this.#examiner.count(file)
  }

  /** A hold that the catalog has; its base has been in a checkpoint. */
  load(
    file: HashedFile,
    generations: { readonly held: Generation; readonly gone: Generation },
    state: HoldState,
  ): void {
    const { cache, groups } = this.#parts
    this.#put(file, new Hold(cache, groups, generations, state, true))
  }

  /** Somebody waits for a checkpoint: a base must be complete on the disk, or files are to be named no more. */
  get checkpointDue(): boolean {
    if (this.#policy === null) return false
    if (this.#moved && !this.draining) return true
    for (const { hold } of this.#files) if (hold!.checkpoint === 0 && !hold!.frozen) return true
    return false
  }

  /** The catalog of a checkpoint would differ, though there was no transaction. */
  get moved(): boolean {
    return this.#moved
  }

  captured(checkpoint: number): void {
    this.#moved = false
    for (const { hold } of this.#files) if (!hold!.frozen) hold!.checkpoint ||= checkpoint
  }

  completed(checkpoint: number): void {
    for (const { hold } of this.#files) {
      if (hold!.checkpoint !== checkpoint) continue
      hold!.frozen = true
      this.#changed()
    }
  }

  /** The checkpoint was given up: everything is as before it. */
  givenUp(checkpoint: number): void {
    this.#moved = true
    for (const { hold } of this.#files) if (hold!.checkpoint === checkpoint) hold!.checkpoint = 0
  }

  /** The data file of a dropped generation, which no catalog names any more, is a helper's; false when it is small. */
  takeRemoval(generation: Generation): boolean {
    const { removal } = generation
    if (this.#policy === null || removal === null) return false
    if (generation.diskFrames * frameBytes < this.#policy.bytes) return false
    this.#removals.set(removal.id, removal)
    this.#changed()
    return true
  }

  // For helpers

  /** What there is to do now, in any order: a job that is no longer here is pointless. */
  jobs(): HelperJob[] {
    if (this.#policy === null) return []
    const jobs: HelperJob[] = [...this.#removals.values()]
    for (const file of this.#files) {
      const { frozen, draining } = file.hold!
      if (frozen && !draining && this.#readable(file)) jobs.push(this.#buildJob(file, file.hold!))
    }
    return jobs
  }

  #buildJob({ number: fileNumber, account, name, generation }: HashedFile, hold: Hold): BuildJob {
    const { modulo, target: number } = hold
    const subject = { account, file: name, operation: 'resize-file' } as const
    const source = { path: this.#parts.dataFiles.pathOf(generation), state: stateOf(generation) }
    const target = { fileNumber, number, modulo }
    return { kind: 'build', id: dataFileName(fileNumber, number), ...subject, source, target }
  }

  /**
   * Takes in the data file at `path`, complete and synced, which a helper has built for the job. Resolves with false,
   * and the file is gone, when it is no longer needed. Throws ERR_PROCESS when it is not what was ordered, ERR_DISK.
   */
  async adopt(job: BuildJob, path: string, state: GenerationState): Promise<boolean> {
    const { disk, dataFiles, cache, drop } = this.#parts
    if (this.#waitingFor(job) === null) {
      await disk.remove(path)
      return false
    }
    checkBuilt(job, state, this.#waitingFor(job)!.counted)
    const target = join(dataFiles.directory, job.id)
    await disk.rename(path, target)
    await disk.syncDirectory(dataFiles.directory)
    const file = this.#waitingFor(job)
    if (file === null) {
      await disk.remove(target)
      return false
    }
    const generation = new Generation(state, true)
    cache.register(generation)
    const base = file.switchTo(generation)
    const { account, name } = file
    const subject = { account, file: name, operation: job.operation }
    const id = dataFileName(base.fileNumber, base.number)
    base.removal = { kind: 'remove', id, ...subject, path: dataFiles.pathOf(base) }
    drop(base)
    const hold = file.hold!
    hold.draining = true
    // What the helper has counted is right.
    hold.itemCount += state.itemCount - base.itemCount
    hold.itemBytes += state.itemBytes - base.itemBytes
    this.#moved = true
    this.#changed()
    return true
  }

  #waitingFor(job: BuildJob): HashedFile | null {
    const file = this.#parts.accounts.byNumber(job.target.fileNumber)
    const hold = file?.hold
    if (file === undefined || !hold) return null
    return !hold.draining && hold.target === job.target.number ? file : null
  }

  /** The helper has removed the data file. */
  removed(job: RemoveJob): void {
    this.#removals.delete(job.id)
    this.#changed()
  }

  // Damage: see quarantine.ts.

  /** No frame of the base is known to be damaged. */
  #readable({ number, generation }: HashedFile): boolean {
    return this.#parts.quarantine.of(number).every(range => range.generation !== generation.number)
  }

  /** Looks at every item of the file in the background, for damage. */
  suspect(file: HashedFile): void {
    this.#examiner.suspect(file)
    this.#changed()
  }

  /** A helper has met damage in what it was to read. */
  suspectSource(job: HelperJob): void {
    const file = job.kind === 'build' && this.#parts.accounts.byNumber(job.target.fileNumber)
    if (file) this.suspect(file)
  }

  /** See HashedFile.renew; the next checkpoint writes it. */
  renew(file: HashedFile, generation: number, frame: number): void {
    file.renew(generation, frame)
    this.#moved = true
  }

  // Background work: draining and examining

  get busy(): boolean {
    return this.draining || this.#examiner.busy
  }

  /** Does some of it: about this many items. */
  step(itemsMax: number): void {
    if (this.draining) this.#drain(itemsMax)
    else if (this.#examiner.step(itemsMax)) this.#moved = true
    // An end may be what somebody waits for.
    if (!this.busy) this.#changed()
  }

  get draining(): boolean {
    for (const { hold } of this.#files) if (hold!.draining) return true
    return false
  }

  /** Brings about `itemsMax` held updates of some file to where they belong. */
  #drain(itemsMax: number): void {
    for (const file of this.#files) {
      const hold = file.hold!
      if (!hold.draining) continue
      this.#moved = true
      if (this.#drained(file, hold, itemsMax)) this.#end(file, hold)
      return
    }
  }

  #drained(file: HashedFile, hold: Hold, itemsMax: number): boolean {
    try {
      return hold.drain(file.generation, itemsMax)
    } catch (error) {
      if (!(error instanceof FrameDamage)) throw error
      file.damaged(error)
      const { from, to } = hold.passOver()
      this.#parts.quarantine.addRest(file, from, to)
      return hold.drainedTo === hashEnd
    }
  }

  #end(file: HashedFile, hold: Hold): void {
    const { itemCount, itemBytes } = file.generation
    const same = itemCount === hold.itemCount && itemBytes === hold.itemBytes
    if (!same && file.counted) {
      const place = { account: file.account, file: file.name }
      const message = `file ${file.account} ${file.name} has ${itemCount} items with ${itemBytes} bytes after its resize; ${hold.itemCount} with ${hold.itemBytes} were written`
      throw new HotBackupError('ERR_DATABASE_CORRUPT', message, place)
    }
    const { modulo } = hold
    for (const part of [hold.held, hold.gone]) this.#drop(file, part, 'resize-file')
    file.hold = null
    this.#files.delete(file)
    // Another resize was ordered while this one was being drained.
    if (modulo !== file.modulo) this.resize(file, modulo, file.lastTxn)
    this.#changed()
  }
}

/** A helper is another program, perhaps of another version: what it says is checked like any input. */
function checkBuilt({ source, target }: BuildJob, state: GenerationState, counted: boolean): void {
  const { fileNumber, number, modulo, itemCount, itemBytes, frameCount, diskFrames } = state
  const complete = itemCount === source.state.itemCount && itemBytes === source.state.itemBytes
  const ordered =
    fileNumber === target.fileNumber &&
    number === target.number &&
    modulo === target.modulo &&
    (complete || !counted) &&
    frameCount >= modulo &&
    diskFrames === frameCount
  if (ordered) return
  const message = `a helper has built ${JSON.stringify(state)} out of ${JSON.stringify(source.state)}, for ${JSON.stringify(target)}`
  throw new HotBackupError('ERR_PROCESS', message)
}
