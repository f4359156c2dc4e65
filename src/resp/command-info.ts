// What is known of a command without running it: for dispatch, for COMMAND, and for hb-resp(7).

/** Words of Redis, as clients know them from COMMAND INFO. */
export type CommandFlag =
  | 'readonly'
  | 'write'
  | 'denyoom'
  | 'admin'
  | 'noscript'
  | 'blocking'
  | 'loading'
  | 'stale'
  | 'fast'
  | 'no_auth'
  | 'no_multi'
  | 'movablekeys'
  | 'skip_slowlog'
  | 'allow_busy'

export const commandGroups = [
  'connection',
  'string',
  'hash',
  'generic',
  'transactions',
  'stream',
  'server',
  'hotbackup',
] as const
export type CommandGroup = (typeof commandGroups)[number]

export interface CommandInfo {
  /** In lower case; of a subcommand with its container: "client|list". */
  readonly name: string
  /** What a request has: of a subcommand, the second word. */
  readonly word: string
  /** Arguments with the name; negative: at least so many. */
  readonly arity: number
  readonly flags: ReadonlySet<CommandFlag>
  /** Arguments that are keys: the first, the last (-1 is the last argument) and the step; all 0 for none. */
  readonly keys: readonly [number, number, number]
  readonly group: CommandGroup
  /** The version of Redis that brought it, or of hotbackup. */
  readonly since: string
  /** The arguments, as a manual has them. */
  readonly syntax: string
  readonly summary: string
  /** Of a container of subcommands. */
  readonly subcommands: readonly CommandInfo[]
}

/** ACL categories, which follow from the rest. */
export function categoriesOf(info: CommandInfo): string[] {
  const { flags, group, name } = info
  const categories: string[] = []
  if (flags.has('write')) categories.push('@write')
  else if (flags.has('readonly')) categories.push('@read')
  if (flags.has('admin')) categories.push('@admin', '@dangerous')
  else if (dangerous.has(name)) categories.push('@dangerous')
  if (group in groupCategories) categories.push(groupCategories[group]!)
  if (flags.has('blocking')) categories.push('@blocking')
  categories.push(flags.has('fast') ? '@fast' : '@slow')
  return categories
}

const dangerous = new Set(['keys', 'flushall', 'flushdb', 'info', 'swapdb', 'restore'])
const groupCategories: Readonly<Partial<Record<CommandGroup, string>>> = {
  connection: '@connection',
  string: '@string',
  hash: '@hash',
  generic: '@keyspace',
  transactions: '@transaction',
  stream: '@stream',
}

/** Whether that many arguments, the name included, may be. */
export function arityFits(arity: number, count: number): boolean {
  return arity >= 0 ? count === arity : count >= -arity
}

/** The arguments of a request with `count` that are keys, by their index. */
export function keyIndexes({ keys: [first, last, step] }: CommandInfo, count: number): number[] {
  const indexes: number[] = []
  if (first === 0) return indexes
  const end = last < 0 ? count + last : last
  for (let index = first; index <= end && index < count; index += step) indexes.push(index)
  return indexes
}
