// The manifest of a save or a seed: which files it has, with their lengths and SHA-256, and the digests of its
// content. It comes last: what has no manifest is a half.
//
// MANIFEST.JSON is one JSON object: "format" is "hotbackup save", "version" is 1, and "checksum" the SHA-256 of the
// same object without it, as JSON without white space.
import { createHash } from 'node:crypto'
import path from 'node:path'
import type { DigestTree } from '../database/digest.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import { hashFile, type CopyTempo } from '../platform/file-copy.ts'
import type { ServerType } from '../config/role.ts'

export const manifestName = 'manifest.json'
const manifestFormat = 'hotbackup save'
const manifestVersion = 1
const manifestBytesMax = 1024 * MiB

export interface SavedFile {
  /** From the save's directory on, with slashes. */
  readonly path: string
  readonly bytes: number
  /** In hexadecimal. */
  readonly sha256: string
}

export interface Manifest {
  readonly format: typeof manifestFormat
  readonly version: typeof manifestVersion
  /** When it was made, in ISO 8601. */
  readonly time: string
  readonly server: { readonly name: string; readonly type: ServerType }
  /** In hexadecimal; null for a server that has never had an update. */
  readonly databaseId: string | null
  readonly timeline: number | null
  /** Up to here the database files hold. */
  readonly stampTxn: number
  /** The log goes from there to here. */
  readonly lastTxn: number
  readonly files: readonly SavedFile[]
  readonly digests: DigestTree
}

export type ManifestContent = Omit<Manifest, 'format' | 'version'>

/** Writes it, durably. */
export async function writeManifest(
  disk: Disk,
  directory: string,
  content: ManifestContent,
): Promise<Manifest> {
  const manifest: Manifest = { format: manifestFormat, version: manifestVersion, ...content }
  const text = JSON.stringify({ ...manifest, checksum: checksumOf(manifest) }, null, 2)
  await writeFileAtomic(disk, path.join(directory, manifestName), Buffer.from(`${text}\n`))
  return manifest
}

/** Throws ERR_SAVE when there is none, ERR_SAVE_CORRUPT when it is not as it was written. */
export async function readManifest(disk: Disk, directory: string): Promise<Manifest> {
  const file = path.join(directory, manifestName)
  const bytes = await readState(disk, file, manifestBytesMax)
  if (bytes === null) {
    const message = `${directory} has no ${manifestName}: it is a half save, or none`
    const hint = 'Check the path; half a save is of no use: make it again with "hb save".'
    throw new HotBackupError('ERR_SAVE', message, { path: directory }, undefined, hint)
  }
  return parseManifest(bytes.toString(), file)
}

/** Throws ERR_SAVE, ERR_SAVE_CORRUPT. `file` is where it comes from, for people. */
export function parseManifest(text: string, file: string): Manifest {
  const corrupt = (what: string) =>
    new HotBackupError('ERR_SAVE_CORRUPT', `${file} ${what}`, { path: file })
  let value: { readonly format?: unknown; readonly version?: unknown; readonly checksum?: unknown }
  try {
    value = JSON.parse(text) as typeof value
  } catch {
    throw corrupt('is no JSON')
  }
  if (value?.format !== manifestFormat) {
    throw new HotBackupError('ERR_SAVE', `${file} is not the manifest of a save`, { path: file })
  }
  if (value.version !== manifestVersion) {
    const message = `${file} has version ${JSON.stringify(value.version)}; this program reads ${manifestVersion}`
    throw new HotBackupError('ERR_SAVE', message, { path: file })
  }
  const { checksum, ...manifest } = value
  if (checksum !== checksumOf(manifest)) throw corrupt('does not have the checksum that it names')
  // What the checksum covers is what this program wrote.
  return manifest as Manifest
}

function checksumOf(manifest: object): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex')
}

/** Reads the files and gives what a manifest says of them. */
export async function describeFiles(
  disk: Disk,
  directory: string,
  paths: readonly string[],
  tempo: CopyTempo,
): Promise<SavedFile[]> {
  const files: SavedFile[] = []
  for (const name of paths) {
    const found = await hashFile(disk, path.join(directory, name), tempo)
    if (found !== null) files.push({ path: name, ...found })
  }
  return files
}

/** Says what is wrong with a file that should be as the manifest says. */
export function fileFault(directory: string, file: SavedFile, sha256: string): HotBackupError {
  const place = path.join(directory, file.path)
  const message = `${place} has the SHA-256 ${sha256}; ${file.sha256} was saved`
  return new HotBackupError('ERR_SAVE_CORRUPT', message, { path: place })
}

/** Throws ERR_SAVE_CORRUPT when the content is not what was saved. */
export function checkDigests(saved: DigestTree, found: DigestTree, directory: string): void {
  if (saved.digest === found.digest) return
  const digests = new Map<string, string>()
  for (const { account, files } of found.accounts) {
    for (const { file, digest } of files) digests.set(`${account} ${file}`, digest)
  }
  const wrong = saved.accounts
    .flatMap(({ account, files }) =>
      files.map(file => ({ ...file, name: `${account} ${file.file}` })),
    )
    .find(({ name, digest }) => digests.get(name) !== digest)
  const what = wrong === undefined ? 'has other accounts or files' : `differs in ${wrong.name}`
  const message = `the content of ${directory} ${what}`
  throw new HotBackupError('ERR_SAVE_CORRUPT', message, { path: directory })
}
