// The words in which a server reports its state: in "hb status", "hb query", "hb check", and in hb(1), where a test
// compares them. Where D3 has a word, it is D3's. Each state that needs somebody to act has a word of its own, and says
// what to do.
import type { ErrorCode } from '../errors.ts'

interface Entry {
  readonly word: string
  /** Whose state it can be: a master's link to a slave (and the master itself), or a slave's server. */
  readonly of: readonly ('master' | 'slave')[]
  readonly meaning: string
  /** What to do; null where the server goes on by itself. */
  readonly next: string | null
  /** For monitors: the work goes on, does not go on for now, or does not go on until somebody acts. */
  readonly level: 'ok' | 'warning' | 'critical'
  /** A link that ended with one of these is in this state until it works again. */
  readonly codes?: readonly ErrorCode[]
}

const both = ['master', 'slave'] as const

/** The state that most needs to be looked at comes first: a server with several links shows that of the worst one. */
export const statusWords = [
  {
    word: 'Role unknown',
    of: both,
    meaning: 'DIR/role is missing or damaged, so the server may be the master or a slave.',
    next: 'run "hb rejoin" to make it a slave of the master; where there is no other master, "hb promote"',
    level: 'critical',
  },
  {
    word: 'Fenced',
    of: ['master'],
    meaning: 'Another server is the master now, and this one takes no updates.',
    next: 'make it a slave of the new master: "hb rejoin"',
    level: 'critical',
    codes: ['ERR_FENCED'],
  },
  {
    word: 'Diverged',
    of: both,
    meaning: 'Master and slave hold different updates under the same numbers.',
    next: 'give the slave a new copy: "hb seed" on the master',
    level: 'critical',
    codes: ['ERR_LINK_DIVERGED'],
  },
  {
    word: 'Other database',
    of: both,
    meaning: 'The two servers hold different databases.',
    next: 'check the addresses in hb.toml',
    level: 'critical',
    codes: ['ERR_LINK_FOREIGN'],
  },
  {
    word: 'Wrong key',
    of: both,
    meaning: 'The keys of the two servers differ.',
    next: "copy the master's hb.key to the slave",
    level: 'critical',
    codes: ['ERR_KEY'],
  },
  {
    word: 'Wrong name',
    of: both,
    meaning: "The master's hb.toml calls the slave by another name than the slave's own hb.toml.",
    next: 'give the slave the same name in both files, or correct the address',
    level: 'critical',
    codes: ['ERR_LINK_NAME'],
  },
  {
    word: 'Loop',
    of: both,
    meaning: 'The server at the address of the slave is this server itself, or one that feeds it.',
    next: 'correct the addresses in hb.toml',
    level: 'critical',
    codes: ['ERR_LINK_LOOP'],
  },
  {
    word: 'Not a slave',
    of: ['master'],
    meaning: 'The server at the address of the slave is a master.',
    next: 'check which of the two is to be the master, and the addresses in hb.toml',
    level: 'critical',
    codes: ['ERR_WRONG_TYPE'],
  },
  {
    word: 'Needs a copy',
    of: both,
    meaning:
      'The log no longer holds what the slave needs next, or the database of the slave is damaged.',
    next: 'run "hb seed" on the master',
    level: 'critical',
    codes: ['ERR_LINK_SEED'],
  },
  {
    word: 'Damaged log',
    of: both,
    meaning: 'A part of the log that is to be sent or stored fails its check.',
    next: 'run "hb scrub --repair"',
    level: 'critical',
    codes: ['ERR_LOG_CORRUPT'],
  },
  {
    word: 'Cannot store',
    of: both,
    meaning: 'The slave cannot write its log any more.',
    next: 'repair its disk, then start its server again',
    level: 'critical',
    codes: ['ERR_STOPPED'],
  },
  {
    word: 'Disk full',
    of: both,
    meaning: 'The slave has no room for updates.',
    next: 'make room on its disk',
    level: 'critical',
    codes: ['ERR_DISK_FULL'],
  },
  {
    word: 'Refused',
    of: ['master'],
    meaning: 'One side refuses the link for another reason, which the message gives.',
    next: 'see the message',
    level: 'critical',
  },
  {
    word: 'Not answering',
    of: both,
    meaning:
      'The process is alive, and does not answer commands: it is starting, stopping, or hangs.',
    next: null,
    level: 'critical',
  },
  {
    word: 'Stopped',
    of: both,
    meaning: 'The server does not run.',
    next: 'run "hb start"',
    level: 'critical',
  },
  {
    word: 'Not shipping',
    of: ['master'],
    meaning: 'The server takes updates, and no shipper runs that would send them to the slaves.',
    next: 'run "hb start"',
    level: 'critical',
  },
  {
    word: 'Not reached yet',
    of: ['master'],
    meaning: 'The slave has not taken updates from this server yet. It is called again and again.',
    next: 'check its address and that its server runs',
    level: 'critical',
  },
  {
    word: 'Wait response to call',
    of: ['master'],
    meaning: 'The slave is called again and again until it answers.',
    next: null,
    level: 'critical',
  },
  {
    word: 'Wait incoming call',
    of: ['slave'],
    meaning: 'No master is connected.',
    next: null,
    level: 'critical',
  },
  {
    word: 'No slaves',
    of: ['master'],
    meaning: 'hb.toml names no slave, so nothing is backed up.',
    next: 'enter a slave in hb.toml',
    level: 'warning',
  },
  {
    word: 'Handing over',
    of: ['master'],
    meaning: 'The master gives its role to a slave ("hb switch") and takes no updates.',
    next: 'if "hb switch" was interrupted, run it again',
    level: 'warning',
  },
  {
    word: 'Sending a copy',
    of: ['master'],
    meaning: 'The slave is given a copy of the database.',
    next: null,
    level: 'warning',
  },
  {
    word: 'Taking a copy',
    of: ['slave'],
    meaning: 'The master gives this slave a copy of the database.',
    next: null,
    level: 'warning',
  },
  {
    word: 'Connected',
    of: both,
    meaning: 'The connection is made, and the two sides agree on where to go on.',
    next: null,
    level: 'ok',
  },
  {
    word: 'Writing to network',
    of: ['master'],
    meaning: 'Updates wait for the network to take them.',
    next: null,
    level: 'ok',
  },
  {
    word: 'Waiting for ACK',
    of: ['master'],
    meaning: 'Updates were sent, and the slave has not confirmed that they are on its disk.',
    next: null,
    level: 'ok',
  },
  {
    word: 'Reading queue',
    of: ['master'],
    meaning: 'Updates are read from the log to be sent.',
    next: null,
    level: 'ok',
  },
  {
    word: 'Reading network',
    of: ['slave'],
    meaning: 'Updates come in.',
    next: null,
    level: 'ok',
  },
  {
    word: 'Idle',
    of: both,
    meaning: 'Connected, and the slave holds everything.',
    next: null,
    level: 'ok',
  },
] as const satisfies readonly Entry[]

export type StatusWord = (typeof statusWords)[number]['word']

const entries: readonly (Entry & { readonly word: StatusWord })[] = statusWords
const entryOf = new Map(entries.map(entry => [entry.word, entry]))

/** The state of a link that ended with this error, on one of its sides; null when it has no word of its own. */
export function wordFor(code: ErrorCode, side: 'master' | 'slave'): StatusWord | null {
  const entry = entries.find(({ codes, of }) => codes?.includes(code) && of.includes(side))
  return entry?.word ?? null
}

/** What to do; null where the server goes on by itself. */
export function nextStep(word: StatusWord): string | null {
  return entryOf.get(word)?.next ?? null
}

export function levelOf(word: StatusWord): Entry['level'] {
  return entryOf.get(word)?.level ?? 'critical'
}

/** Of several links the one that most needs to be looked at; null without any. */
export function worstOf(words: readonly StatusWord[]): StatusWord | null {
  return entries.find(({ word }) => words.includes(word))?.word ?? null
}
