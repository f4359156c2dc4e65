// Every error that hotbackup raises on purpose: one class, one catalogue of codes. A code never changes
// its meaning; messages may. A programmer's mistake (a wrong argument type) is a TypeError, not one of these.
// docs/ERRORS.md lists the codes for operators; a test holds the two together.

/** How a process ends because of an error (see hb(1), EXIT STATUS). */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  wrongState: 4,
  corrupt: 5,
  timeout: 6,
} as const
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

interface Entry {
  readonly exit: ExitCode
  /** What the operator can do, as an order. */
  readonly hint: string
}

const catalogue = {
  // Names and sizes
  ERR_NAME: {
    exit: exitCodes.usage,
    hint: 'A name is 1 to 64 bytes of UTF-8 without / \\ or control characters, and starts with none of . or -.',
  },
  ERR_ITEM_ID: { exit: exitCodes.usage, hint: 'An item-id is 1 to 1,024 bytes.' },
  ERR_ITEM_SIZE: { exit: exitCodes.usage, hint: 'An item is at most 64 MiB.' },
  ERR_ITEM_TEXT: {
    exit: exitCodes.usage,
    hint: 'Give its bytes, or text without surrogates by themselves.',
  },
  ERR_MODULO: { exit: exitCodes.usage, hint: 'A modulo is a whole number from 1 to 67,108,864.' },
  ERR_TRANSACTION_SIZE: {
    exit: exitCodes.failed,
    hint: 'Split the transaction: all of it together is at most 128 MiB.',
  },
  ERR_USAGE: { exit: exitCodes.usage, hint: 'See the --help of the command.' },
  ERR_INPUT: {
    exit: exitCodes.failed,
    hint: 'Give the command a file or a pipe to read; an empty item is the value "".',
  },
  ERR_IMPORT: {
    exit: exitCodes.failed,
    hint: 'Repair the line and import the rest, or go on without such lines: --skip-bad FILE.',
  },

  // Things that are not there, or there already
  ERR_NO_ACCOUNT: { exit: exitCodes.notFound, hint: 'See "hb list" for the accounts.' },
  ERR_NO_FILE: { exit: exitCodes.notFound, hint: 'See "hb list ACCOUNT" for its files.' },
  ERR_NO_ITEM: { exit: exitCodes.notFound, hint: 'See "hb list ACCOUNT FILE" for its item-ids.' },
  ERR_NO_SLAVE: {
    exit: exitCodes.notFound,
    hint: 'See "hb status" for the slaves of this server.',
  },
  ERR_NO_LOST: {
    exit: exitCodes.notFound,
    hint: 'See "hb lost list" for what could not be applied.',
  },
  ERR_EXISTS: { exit: exitCodes.failed, hint: 'Use what is there, or choose another name.' },

  // The server's state
  ERR_NOT_A_SERVER: {
    exit: exitCodes.wrongState,
    hint: 'Name the directory with -d or HB_DIR, or make a server with "hb setup".',
  },
  ERR_READ_ONLY: {
    exit: exitCodes.wrongState,
    hint: 'A slave is written by its master only: write on the master.',
  },
  ERR_RUNNING: {
    exit: exitCodes.wrongState,
    hint: 'Wait until that process ends, or end it: "hb stop" where it belongs to this server, else the program itself.',
  },
  ERR_NOT_RUNNING: { exit: exitCodes.wrongState, hint: 'Start the server with "hb start".' },
  ERR_REOPENING: {
    exit: exitCodes.wrongState,
    hint: 'Run the command again in a moment.',
  },
  ERR_CLOSED: {
    exit: exitCodes.wrongState,
    hint: 'Run it again when the server runs; a program opens the master again.',
  },
  ERR_UNCONFIRMED: {
    exit: exitCodes.wrongState,
    hint: 'The update is durable on the master; "hb wait" says when the slaves have it.',
  },
  ERR_OUTCOME: {
    exit: exitCodes.failed,
    hint: 'Read what it was to change, and decide by that whether to try it again.',
  },
  ERR_CONFLICT: {
    exit: exitCodes.failed,
    hint: 'Other programs change the same items all the time: try again later.',
  },
  ERR_QUEUE_FULL: {
    exit: exitCodes.wrongState,
    hint: 'Let the slave come back, or change [queue] in hb.toml; "hb status" shows which slave holds up the queue.',
  },
  ERR_STOPPED: {
    exit: exitCodes.wrongState,
    hint: 'Repair what the message names, such as the disk, then start the server again.',
  },
  ERR_LOCK_LOST: {
    exit: exitCodes.failed,
    hint: 'The process stalled for too long and lost its lock: start it again.',
  },
  ERR_OTHER_USER: {
    exit: exitCodes.failed,
    hint: 'Run it as the user who owns the directory.',
  },
  ERR_OPEN_TO_OTHERS: {
    exit: exitCodes.wrongState,
    hint: 'Take the right to write it from all but its owner.',
  },
  ERR_WRONG_TYPE: {
    exit: exitCodes.wrongState,
    hint: 'Run it on a server of the other type; "hb status" shows the type.',
  },
  ERR_UNSAFE: {
    exit: exitCodes.wrongState,
    hint: 'Nothing has been changed: fix what the message says, then run the command again.',
  },
  ERR_ROLE: {
    exit: exitCodes.wrongState,
    hint: 'Make it a slave of the master with "hb rejoin"; where there is no other master, make it the master with "hb promote".',
  },
  ERR_PROMOTING: {
    exit: exitCodes.wrongState,
    hint: 'Complete it with "hb promote".',
  },
  ERR_REJOINING: {
    exit: exitCodes.wrongState,
    hint: 'Complete it with "hb rejoin".',
  },
  ERR_FENCED: {
    exit: exitCodes.wrongState,
    hint: 'Another server is the master now: write there, and make this one its slave with "hb rejoin".',
  },
  ERR_LEASE: {
    exit: exitCodes.wrongState,
    hint: 'See "hb status" for why no slave answers; updates are taken again when one does.',
  },
  ERR_CONFIG: { exit: exitCodes.usage, hint: 'Fix hb.toml; hb.toml(5) has every key.' },
  ERR_KEY: {
    exit: exitCodes.usage,
    hint: 'Give the key file that "hb setup" made on the master (DIR/hb.key).',
  },

  // The log
  ERR_LOG_CORRUPT: {
    exit: exitCodes.corrupt,
    hint: 'Keep the directory as it is; "hb scrub --repair" fetches the bytes from the peer, which holds the same.',
  },
  ERR_DAMAGED: {
    exit: exitCodes.corrupt,
    hint: 'Each line above says what to do.',
  },
  ERR_LOG_TORN: {
    exit: exitCodes.corrupt,
    hint: 'The last block is incomplete: the server cuts it off when it starts.',
  },
  ERR_LOG_VERSION: { exit: exitCodes.failed, hint: 'Read it with a newer hotbackup.' },
  ERR_LOG_GAP: { exit: exitCodes.failed, hint: 'Supply the missing segments.' },
  ERR_LOG_REMOVED: {
    exit: exitCodes.failed,
    hint: '"hb log list" shows the first transaction that is left; a slave that needs an earlier one takes a new copy ("hb seed").',
  },
  ERR_LOG_FOREIGN: {
    exit: exitCodes.failed,
    hint: 'The bytes belong to another database or history; supply those of this one.',
  },

  // The system
  ERR_DISK: { exit: exitCodes.failed, hint: 'Look at the disk and the system log.' },
  ERR_DISK_FULL: {
    exit: exitCodes.failed,
    hint: 'Make room on the disk, or raise the quota of the user.',
  },
  ERR_PROCESS: {
    exit: exitCodes.failed,
    hint: 'Check the limits of processes and memory of this user ("ulimit -a").',
  },

  // The database
  ERR_DATABASE_CORRUPT: {
    exit: exitCodes.corrupt,
    hint: 'Keep the directory as it is; "hb scrub" names what is damaged, and what to do.',
  },
  ERR_GROUP_DAMAGED: {
    exit: exitCodes.corrupt,
    hint: 'The rest of the file can be used; the message says where the items of the group come from.',
  },
  ERR_DATABASE_CHANGED: {
    exit: exitCodes.failed,
    hint: "The server's files changed while they were being read: run the command again.",
  },
  ERR_APPLY: { exit: exitCodes.failed, hint: 'See "hb lost list" for what could not be applied.' },
  ERR_LOST_CORRUPT: {
    exit: exitCodes.corrupt,
    hint: 'The file cannot be replayed: look at it, then discard it with "hb lost discard".',
  },

  // Saves
  ERR_SAVE: {
    exit: exitCodes.wrongState,
    hint: 'Make the save again with "hb save"; half a save is of no use.',
  },
  ERR_SAVE_CORRUPT: {
    exit: exitCodes.corrupt,
    hint: 'Use another save, or make one again with "hb save".',
  },

  // The link
  ERR_CONNECT: {
    exit: exitCodes.failed,
    hint: 'Check the address, the firewall and that the peer runs.',
  },
  ERR_LISTEN: {
    exit: exitCodes.failed,
    hint: 'Another program may have the port: choose another one in hb.toml.',
  },
  ERR_WIRE: {
    exit: exitCodes.failed,
    hint: 'Check that the peer runs, its address, and that both sides run the same version of hotbackup.',
  },
  ERR_WIRE_TIMEOUT: {
    exit: exitCodes.failed,
    hint: 'Check the network and that the peer runs; a server calls again by itself.',
  },
  ERR_LINK_REFUSED: {
    exit: exitCodes.failed,
    hint: '"hb status" on both servers shows their states and positions.',
  },
  ERR_LINK_DIVERGED: {
    exit: exitCodes.failed,
    hint: 'The two histories differ: take a new copy for the slave ("hb seed").',
  },
  ERR_LINK_FOREIGN: {
    exit: exitCodes.failed,
    hint: 'The peer holds another database: check the addresses.',
  },
  ERR_LINK_SEED: {
    exit: exitCodes.failed,
    hint: 'Give the slave a copy of the database: "hb seed" on the master, or auto_seed in its hb.toml.',
  },
  ERR_LINK_LOOP: { exit: exitCodes.failed, hint: 'Take the loop out of the cascade.' },
  ERR_LINK_NAME: {
    exit: exitCodes.failed,
    hint: 'Give the slave the same name in the hb.toml of both servers, or correct its address.',
  },

  ERR_DIFFERENT: {
    exit: exitCodes.corrupt,
    hint: '"hb verify --repair" copies the items that differ; "hb seed" gives the slave a new copy.',
  },
  ERR_NO_STATISTICS: {
    exit: exitCodes.wrongState,
    hint: 'See "hb status" for the link to the slave.',
  },

  // Waiting
  ERR_TIMEOUT: { exit: exitCodes.timeout, hint: 'See "hb status" for what holds it up.' },
} as const satisfies Record<string, Entry>

export type ErrorCode = keyof typeof catalogue
export const errorCodes = Object.keys(catalogue) as readonly ErrorCode[]

/** Where an error happened; only the fields that apply. */
export interface ErrorPlace {
  readonly path?: string
  /** Byte offset in `path`. */
  readonly offset?: number
  readonly txn?: number
  readonly account?: string
  readonly file?: string
  readonly slave?: string
}

/** An operating error: `code` to match on, `message` to read, `hint` to act on. */
export class HotBackupError extends Error {
  override readonly name = 'HotBackupError'
  readonly code: ErrorCode
  readonly place: ErrorPlace

  /** What the operator can do, as an order. */
  readonly hint: string

  /** `hint`: where the one of the catalogue does not fit the place. */
  constructor(
    code: ErrorCode,
    message: string,
    place: ErrorPlace = {},
    cause?: unknown,
    hint: string = catalogue[code].hint,
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.place = place
    this.hint = hint
  }

  /** The same, with a hint that fits the place better. */
  withHint(hint: string): HotBackupError {
    return new HotBackupError(this.code, this.message, this.place, this.cause, hint)
  }

  get exitCode(): ExitCode {
    return catalogue[this.code].exit
  }
}

export function isHotBackupError(error: unknown, ...codes: ErrorCode[]): error is HotBackupError {
  return error instanceof HotBackupError && (codes.length === 0 || codes.includes(error.code))
}
