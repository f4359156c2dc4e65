// "hb why": whether a file's updates are replicated, and what decides it.
import { ask } from '../control/operation.ts'
import { fileFlags, isReplicated, type FlagWord } from '../log/file-flags.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig } from '../config/config.ts'
import { FilePatterns } from '../config/file-patterns.ts'
import { layoutOf } from '../config/layout.ts'
import type { DataAccess } from './data-access.ts'
import { readOperations } from './data-operations.ts'

export interface Why {
  readonly account: string
  readonly file: string
  readonly replicated: boolean
  readonly flags: readonly FlagWord[]
  /** It is not on this server: a slave leaves out what is not replicated. */
  readonly absent: boolean
  /** On a master, the pattern of hb.toml that decides; null when no include pattern fits, or on a slave. */
  readonly pattern: string | null
  /** On a master, hb.toml has been changed since it was opened last, and says otherwise. */
  readonly changes: boolean
  readonly server: { readonly name: string; readonly type: 'master' | 'slave' }
  readonly slaves: readonly string[]
}

/** Throws ERR_NO_ACCOUNT, ERR_NO_FILE, and what reading the server throws. */
export async function whyReplicated(
  platform: Platform,
  directory: string,
  account: string,
  file: string,
  access: DataAccess,
): Promise<Why> {
  const { name, type, replicate, slaves } = await loadConfig(platform.disk, layoutOf(directory))
  const { flags, absent } = await access(platform, directory, 'read', data =>
    ask(data, readOperations.fileFlags, { account, file }),
  )
  const verdict = new FilePatterns(replicate).verdict(account, file)
  const isMaster = type === 'master'
  return {
    account,
    file,
    replicated: isReplicated(flags.reduce((sum, word) => sum | fileFlags[word], 0)),
    flags,
    absent,
    pattern: isMaster ? verdict.pattern : null,
    changes: isMaster && verdict.excluded !== flags.includes('excluded'),
    server: { name, type },
    slaves: slaves.map(slave => slave.name),
  }
}

export function whyLines(why: Why): string[] {
  const { account, file, replicated, flags, pattern, changes, server } = why
  const lines = [`${account} ${file} is ${replicated ? '' : 'not '}replicated`]
  if (flags.includes('local')) {
    lines.push('it is local: "hb set-file --local off" on the master replicates it')
  }
  if (flags.includes('excluded')) {
    lines.push(
      server.type === 'slave'
        ? "the master's hb.toml leaves it out"
        : changes
          ? 'hb.toml left it out when the master was opened last'
          : `hb.toml leaves it out: ${excluding(pattern)}`,
    )
  }
  if (replicated && server.type === 'master') {
    lines.push(
      changes
        ? 'hb.toml did not leave it out when the master was opened last'
        : `the include pattern ${pattern ?? '*/*'} of hb.toml fits, and it is not local`,
    )
    const names = why.slaves.join(', ')
    lines.push(names === '' ? 'there are no slaves' : `its updates go to ${names}`)
  }
  if (flags.includes('filling')) {
    lines.push('it has become replicated, and its items are still on their way to the slaves')
  }
  if (why.absent) lines.push(`${server.name} is a slave and does not hold it`)
  if (changes) {
    const now = flags.includes('excluded')
      ? `the include pattern ${pattern ?? '*/*'} fits`
      : excluding(pattern)
    lines.push(`it has changed since: ${now}; the master follows when it is opened`)
  }
  return lines
}

function excluding(pattern: string | null): string {
  return pattern === null ? 'no include pattern fits' : `the exclude pattern ${pattern} fits`
}
