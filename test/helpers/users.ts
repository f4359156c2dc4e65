// Other users of the machine, for tests that run as root: commands that these users run, and directories of theirs.
import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, readdirSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { temporaryDirectory, type Outcome } from './servers.ts'

/** Listed by the system as nobody. */
export const nobody = 65_534
/** Not listed at all. */
export const unlisted = 54_321

const program = (name: string) => new URL(`../../src/cli/${name}.js`, import.meta.url).pathname

/** Why tests with other users cannot run here; false when they can. */
export const withoutUsers: string | false = reason()

function reason(): string | false {
  if (process.getuid?.() !== 0) return 'needs root, to act as other users'
  const { status } = spawnSync(process.execPath, ['--check', program('hb')], {
    uid: nobody,
    gid: nobody,
  })
  return status === 0 ? false : 'other users cannot read the program here'
}

/** Runs a program of the package, or a file, as a user; null is root. */
export function runAs(
  user: number | null,
  file: string,
  args: readonly string[],
  { input = '', cwd = '/' }: { readonly input?: string; readonly cwd?: string } = {},
): Promise<Outcome> {
  const who = user === null ? {} : { uid: user, gid: user }
  const options = { maxBuffer: 1 << 28, cwd, timeout: 60_000, ...who }
  const script = path.isAbsolute(file) ? file : program(file)
  return new Promise(resolve => {
    const child = execFile(
      process.execPath,
      [script, ...args],
      options,
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ code, stdout, stderr })
      },
    )
    child.stdin?.on('error', () => {}) // The command may end without reading.
    child.stdin?.end(input)
  })
}

/** A directory that every user may pass through, and one in it that is the user's. */
export function directoryOf(t: Test, user: number): string {
  const root = temporaryDirectory(t)
  chmodSync(root, 0o711)
  const directory = path.join(root, 'home')
  // Not by mkdir of that user: the group is root's, as after a "chown USER" by root.
  spawnSync('mkdir', ['-m', '700', directory])
  chownSync(directory, user, 0)
  return directory
}

/** Every path below a directory, with itself, that is not the user's. */
export function foreignIn(directory: string, user: number): string[] {
  const all = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  return [directory, ...all.map(name => path.join(directory, name))].filter(
    file => lstatSync(file).uid !== user,
  )
}
