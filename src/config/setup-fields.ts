// What Setup Server asks: the settings of hb.toml that an operator chooses, each with its title and help, in the
// order in which they are asked. setup-draft.ts reads and changes them; hb.toml(5) says all about them.
import { commitLevels } from './policies.ts'
import type { ServerType } from './role.ts'

interface Common {
  readonly title: string
  /** What it means and what can be given, in a few words. */
  readonly help: string
  /** Null: for both types of server. */
  readonly only: ServerType | null
  /** Asked for a new server; the others have good defaults. */
  readonly first: boolean
}

/** A key of hb.toml. */
export interface KeyField extends Common {
  readonly kind: 'text' | 'number' | 'list' | 'switch'
  readonly table: string | null
  readonly key: string
}

/** A key of hb.toml that takes one of a few words. */
export interface ChoiceField extends Common {
  readonly kind: 'choice'
  readonly table: string
  readonly key: string
  readonly choices: readonly { readonly word: string; readonly help: string }[]
}

/** The [[slaves]] tables, as "NAME=HOST:PORT, NAME=HOST:PORT". */
export interface SlavesField extends Common {
  readonly kind: 'slaves'
}

/** The key file. */
export interface SecretField extends Common {
  readonly kind: 'secret'
}

export type SetupField = KeyField | ChoiceField | SlavesField | SecretField

const both = { only: null, first: false } as const
const master = { only: 'master', first: false } as const
const slave = { only: 'slave', first: false } as const

export const setupFields: readonly SetupField[] = [
  {
    kind: 'text',
    table: null,
    key: 'name',
    title: 'Server name',
    help: '1 to 32 letters, digits, - and _, - not first. The others know it by this name.',
    only: null,
    first: true,
  },
  {
    kind: 'secret',
    title: 'Key',
    help: 'The servers of one database share a key; what travels between them is encrypted.',
    only: null,
    first: true,
  },
  {
    kind: 'text',
    table: 'link',
    key: 'listen',
    title: 'Listen address',
    help: 'HOST:PORT where this server listens while it is a slave; *: all addresses.',
    only: null,
    first: true,
  },
  {
    kind: 'switch',
    table: 'slave',
    key: 'apply_updates',
    title: 'Apply updates',
    help: 'Apply updates as they come, or only store them; "hb apply" says so later.',
    only: 'slave',
    first: true,
  },
  {
    kind: 'switch',
    table: 'slave',
    key: 'auto_create',
    title: 'Auto-create',
    help: 'Create accounts and files that updates need; otherwise these go to lost-found.',
    only: 'slave',
    first: true,
  },
  {
    kind: 'switch',
    table: 'slave',
    key: 'log_slave_updates',
    title: 'Log slave updates',
    help: 'Hand on what comes from the master to slaves of this slave.',
    only: 'slave',
    first: true,
  },
  {
    kind: 'slaves',
    title: 'Slaves',
    help: 'NAME=HOST:PORT of each server that gets the updates of this one; may be empty.',
    only: null,
    first: true,
  },
  {
    ...both,
    kind: 'text',
    table: 'alarm',
    key: 'command',
    title: 'Notify',
    help: 'A command that gets errors as its input, as "mail -s hotbackup ops@example.org".',
  },
  {
    ...both,
    kind: 'choice',
    table: 'alarm',
    key: 'level',
    title: 'Notify of',
    help: 'From which level on messages are told.',
    choices: [
      { word: 'error', help: 'something is wrong' },
      { word: 'warn', help: 'warnings too, such as a queue that grows' },
    ],
  },
  {
    ...both,
    kind: 'text',
    table: 'alarm',
    key: 'after',
    title: 'Notify after',
    help: 'A slave that has not followed for this long is an error: "1m".',
  },
  {
    ...both,
    kind: 'text',
    table: 'link',
    key: 'heartbeat',
    title: 'Check period',
    help: 'How often each side of a link tells that it lives: "5s".',
  },
  {
    ...both,
    kind: 'text',
    table: 'link',
    key: 'timeout',
    title: 'Silence allowed',
    help: 'Then the link is shut and called again; at least twice the check period.',
  },
  {
    ...both,
    kind: 'choice',
    table: 'log',
    key: 'fsync',
    title: 'Flush the log',
    help: 'When an update is done.',
    choices: [
      { word: 'commit', help: 'when it is on the disk: survives a power failure' },
      { word: 'interval', help: 'at once; it is on the disk at most the flush timer later' },
      { word: 'os', help: 'at once; the operating system stores it when it likes' },
    ],
  },
  {
    ...both,
    kind: 'text',
    table: 'log',
    key: 'fsync_interval',
    title: 'Flush timer',
    help: 'For "interval": how long an update may stay off the disk, 1 ms to 1 min.',
  },
  {
    ...both,
    kind: 'text',
    table: 'log',
    key: 'keep_time',
    title: 'Keep the log',
    help: 'History stays so long after its use, for "hb history" and restored saves: "24h".',
  },
  {
    ...both,
    kind: 'text',
    table: 'log',
    key: 'keep_size',
    title: 'Keep up to',
    help: 'History stays only while the log has no more than this size: "4GiB".',
  },
  {
    ...both,
    kind: 'text',
    table: 'database',
    key: 'cache_size',
    title: 'Memory',
    help: 'For the database: a size, "512MiB", or a share of all memory, "25%".',
  },
  {
    ...master,
    kind: 'list',
    table: 'replicate',
    key: 'include',
    title: 'Replicated files',
    help: 'Patterns ACCOUNT/FILE with * and ?, with commas: what the slaves get.',
  },
  {
    ...master,
    kind: 'list',
    table: 'replicate',
    key: 'exclude',
    title: 'Left out',
    help: 'Patterns ACCOUNT/FILE of what stays on the master, even if it fits above.',
  },
  {
    ...master,
    kind: 'choice',
    table: 'commit',
    key: 'level',
    title: 'Commit level',
    help: 'How far an update must have got before the program goes on.',
    choices: commitLevels.map(word => ({
      word,
      help: {
        local: 'durable on this master',
        received: 'also received by slaves',
        durable: 'also durable on slaves',
        applied: 'also applied by slaves',
      }[word],
    })),
  },
  {
    ...master,
    kind: 'number',
    table: 'commit',
    key: 'slaves',
    title: 'Slaves for that',
    help: 'How many slaves must have got so far.',
  },
  {
    ...master,
    kind: 'choice',
    table: 'commit',
    key: 'on_timeout',
    title: 'Slaves away',
    help: 'When slaves do not answer in time at that commit level.',
    choices: [
      { word: 'wait', help: 'updates wait for them' },
      { word: 'continue', help: 'updates go on without them; status says so' },
    ],
  },
  {
    ...master,
    kind: 'text',
    table: 'queue',
    key: 'limit',
    title: 'Queue limit',
    help: 'For what slaves have not stored yet: "50GiB"; 0 for no limit but the disk.',
  },
  {
    ...master,
    kind: 'choice',
    table: 'queue',
    key: 'on_limit',
    title: 'At the limit',
    help: 'What happens when the queue is full. There are alarms before.',
    choices: [
      { word: 'pace', help: 'updates wait for room' },
      { word: 'refuse', help: 'updates fail until there is room' },
      { word: 'drop', help: 'the slave furthest behind is dropped and needs a new copy' },
    ],
  },
  {
    ...slave,
    kind: 'switch',
    table: 'slave',
    key: 'auto_seed',
    title: 'Auto-seed',
    help: "Take a copy of the master's database by itself when new or too far behind.",
  },
  {
    ...slave,
    kind: 'text',
    table: 'slave',
    key: 'apply_delay',
    title: 'Apply delay',
    help: 'Apply so much later, so that a mistake can be kept out: "30m"; 0: at once.',
  },
]
