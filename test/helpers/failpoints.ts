// The table of failpoints: where processes are killed by name, rather than at random. Each is a place between two
// steps whose order matters: what is on the disk or on the wire then is what the next start has to make good.
import type { Order } from './fault-orders.ts'

/** What makes a process come by. */
export type Provocation =
  | 'updates'
  | 'calls' // the shipper is started again, and calls the slave
  | 'master checkpoint'
  | 'slave checkpoint'
  | 'resize' // of the file that is being written, by a helper on each side
  | 'seed'
  | 'seed from nothing' // the slave has lost log and database: what comes is not held against its own
  | 'lost-found' // a transaction comes that the slave cannot apply
  | 'promote'
  | 'rejoin'
  | 'switch'

export interface Failpoint {
  readonly provoked: Provocation
  readonly order: Order
  /** Where the one that makes that good is killed in turn. */
  readonly inRecovery: Order | null
}

type Moment = Order['moment']
type Rest = { readonly nth?: number; readonly act?: Order['act'] }

function order(
  role: string,
  [operation, what, named]: Place,
  moment: Moment,
  { nth = 1, act = 'kill' }: Rest = {},
): Order {
  const how = act === 'tear' ? 'half of' : moment
  const name = `${role.split('|')[0]}: ${how} ${verbs[operation] ?? operation} ${named}`
  return { name, role, operation, what, moment, nth, act }
}

const verbs: Readonly<Record<string, string>> = {
  create: 'the creation of',
  write: 'a write to',
  sync: 'the sync of',
  truncate: 'the cut of',
  rename: 'the naming of',
  remove: 'the removal of',
  send: 'sending',
  receive: 'taking in',
}

/** Operation, pattern of the path, and what people call it. */
type Place = readonly [operation: string, what: string, named: string]

const segment = '/log/\\d+\\.log$'
const dataFile = '/database/[0-9a-f]{8}\\.[0-9a-f]{8}$'
const log = {
  write: ['write', segment, 'the log'],
  sync: ['sync', segment, 'the log'],
  cut: ['truncate', segment, 'a full segment'],
  durable: ['write', '/log/durable$', 'log/durable'],
  nextMade: ['create', '/log/next\\.tmp$', 'the next segment'],
  nextHead: ['write', '/log/next\\.tmp$', 'the next segment'],
  nextSync: ['sync', '/log/next\\.tmp$', 'the next segment'],
  named: ['rename', segment, 'a segment'],
  directory: ['sync', '/log$', "the log's directory"],
  removed: ['remove', segment, 'an old segment'],
  torn: ['create', '/log/\\d+\\.log\\.torn', 'the copy of torn bytes'],
  tornCopied: ['sync', '/log/\\d+\\.log\\.torn', 'the copy of torn bytes'],
} as const satisfies Record<string, Place>

const database = {
  journalMade: ['create', '/database/journal\\.new$', 'the journal'],
  journal: ['write', '/database/journal\\.new$', 'the journal'],
  journalSync: ['sync', '/database/journal\\.new$', 'the journal'],
  journalNamed: ['rename', '/database/journal$', 'the journal'],
  journalInPlace: ['sync', '/database/journal$', 'what says that the journal is in place'],
  inPlace: ['write', dataFile, 'a data file'],
  inPlaceSync: ['sync', dataFile, 'a data file'],
  catalogWritten: ['sync', '/database/catalog\\.tmp$', 'the new catalog'],
  catalog: ['rename', '/database/catalog$', 'the catalog'],
  fileGone: ['remove', dataFile, 'an old data file'],
  adopted: ['rename', dataFile, 'a generation that a helper has built'],
} as const satisfies Record<string, Place>

const built = {
  made: ['create', '/helpers/\\w+/', 'the next generation'],
  write: ['write', '/helpers/\\w+/', 'the next generation'],
  sync: ['sync', '/helpers/\\w+/', 'the next generation'],
  directory: ['create', '/helpers/\\w+$', "a helper's directory"],
} as const satisfies Record<string, Place>

const seed = {
  staged: ['write', '/alpha/seed/beta/', 'the copy for a slave'],
  manifest: ['rename', '/seed/(beta/)?manifest\\.json$', "the copy's manifest"],
  identified: ['rename', '/seed/beta/image-id$', "the copy's id"],
  hold: ['rename', '/slaves/beta\\.', 'the hold on the log'],
  taken: ['write', '/beta/seed/', 'the copy that comes'],
  state: ['rename', '/beta/seed/state\\.json$', 'how far the copy has come'],
  complete: ['rename', '/seed/COMPLETE$', 'COMPLETE'],
  completeGone: ['remove', '/seed/COMPLETE$', 'COMPLETE'],
  databaseIn: ['rename', '/beta/database/[0-9a-f]{8}\\.[0-9a-f]{8}$', "the copy's database"],
  logIn: ['rename', '/beta/log/\\d+\\.log$', "the copy's log"],
} as const satisfies Record<string, Place>

const marks = {
  promotion: ['rename', '/promotion$', 'the mark of a promotion'],
  promotionGone: ['remove', '/promotion$', 'the mark of a promotion'],
  // Before that it is only tried: once, or twice by a switch.
  role: ['rename', '/role$', 'the new role'],
  fenced: ['rename', '/fenced$', 'the mark of a fence'],
  fencedGone: ['remove', '/fenced$', 'the mark of a fence'],
  rejoin: ['rename', '/rejoin$', 'the plan of a rejoin'],
  rejoinGone: ['remove', '/rejoin$', 'the plan of a rejoin'],
  missing: ['rename', '/missing-updates/.*\\.log$', 'the missing updates'],
  missingMade: ['write', '/missing-updates/', 'the missing updates'],
  durableGone: ['remove', '/log/durable$', 'log/durable'],
  ackGone: ['remove', '/slaves/\\w+\\.ack$', 'an ack'],
} as const satisfies Record<string, Place>

const lost = {
  written: ['sync', '/lost-found/', 'an entry of lost-found'],
  named: ['rename', '/lost-found/', 'an entry of lost-found'],
} as const satisfies Record<string, Place>

const sends = (name: string): Place => ['send', `^${name}$`, name.toUpperCase()]
const takes = (name: string): Place => ['receive', `^${name}$`, name.toUpperCase()]

function killed(
  provoked: Provocation,
  role: string,
  place: Place,
  moments: Moment | 'both' = 'both',
  rest: Rest = {},
): Failpoint[] {
  const each: readonly Moment[] = moments === 'both' ? ['before', 'after'] : [moments]
  return each.map(moment => ({
    provoked,
    order: order(role, place, moment, rest),
    inRecovery: null,
  }))
}

/** A log whose end is torn, then one that is killed while it brings that in order. */
function twice(provoked: Provocation, first: Order, second: Order): Failpoint[] {
  const name = `${second.name}, in recovery`
  return [{ provoked, order: first, inRecovery: { ...second, name, behind: first.name } }]
}

const tornByApp = order('app', log.write, 'before', { nth: 50, act: 'tear' })
const tornBySlave = order('slave', log.write, 'before', { nth: 5, act: 'tear' })
const halfInPlace = (role: string) => order(role, database.inPlace, 'after')

export const failpoints: readonly Failpoint[] = [
  // The log of a master.
  ...killed('updates', 'app', log.write, 'both', { nth: 40 }),
  ...killed('updates', 'app', log.write, 'before', { nth: 60, act: 'tear' }),
  ...killed('updates', 'app', log.sync, 'after', { nth: 40 }),
  ...killed('updates', 'app', log.durable, 'both', { nth: 40 }),
  ...killed('updates', 'app', log.nextMade, 'after'),
  ...killed('updates', 'app', log.nextHead, 'after'),
  ...killed('updates', 'app', log.nextSync, 'after'),
  ...killed('updates', 'app', log.cut, 'both', { nth: 2 }),
  ...killed('updates', 'app', log.named, 'both', { nth: 2 }),
  ...killed('updates', 'app', log.directory, 'after', { nth: 3 }),
  // The link.
  ...killed('updates', 'shipper', ['write', '/slaves/beta\\.ack$', 'an ack file'], 'both', {
    nth: 5,
  }),
  ...killed('updates', 'shipper', sends('blocks'), 'both', { nth: 5 }),
  ...killed('updates', 'shipper', sends('segment'), 'after'),
  ...killed('updates', 'shipper', takes('ack'), 'both', { nth: 5 }),
  ...killed('calls', 'shipper', sends('hello'), 'after'),
  ...killed('calls', 'shipper', takes('welcome'), 'before'),
  ...killed('calls', 'shipper', sends('start'), 'after'),
  ...killed('calls', 'slave', takes('hello'), 'both'),
  ...killed('calls', 'slave', takes('start'), 'both'),
  ...killed('updates', 'slave', takes('segment'), 'both'),
  ...killed('updates', 'slave', takes('blocks'), 'both', { nth: 5 }),
  ...killed('updates', 'slave', sends('ack'), 'both', { nth: 5 }),
  // The log of a slave.
  ...killed('updates', 'slave', log.write, 'both', { nth: 5 }),
  ...killed('updates', 'slave', log.write, 'before', { nth: 6, act: 'tear' }),
  ...killed('updates', 'slave', log.sync, 'after', { nth: 5 }),
  ...killed('updates', 'slave', log.durable, 'both', { nth: 5 }),
  ...killed('updates', 'slave', log.cut, 'both'),
  ...killed('updates', 'slave', log.named, 'both'),
  ...killed('updates', 'slave', log.directory, 'after'),
  // Checkpoints of both, and the removal of what they make needless.
  ...(['app', 'slave'] as const).flatMap(role => {
    const provoked = role === 'app' ? 'master checkpoint' : 'slave checkpoint'
    return [
      ...killed(provoked, role, database.journalMade, 'after'),
      ...killed(provoked, role, database.journal, 'after'),
      ...killed(provoked, role, database.journal, 'before', { act: 'tear' }),
      ...killed(provoked, role, database.journalSync, 'both'),
      ...killed(provoked, role, database.inPlace, 'both'),
      ...killed(provoked, role, database.inPlace, 'before', { act: 'tear' }),
      ...killed(provoked, role, database.inPlaceSync, 'after'),
      ...killed(provoked, role, database.catalogWritten, 'after'),
      ...killed(provoked, role, database.catalog, 'both'),
      ...killed(provoked, role, database.journalNamed, 'both'),
      ...killed(provoked, role, database.journalInPlace, 'both'),
      ...killed(provoked, role, log.removed, 'both'),
    ]
  }),
  // Helpers, and who takes in what they have built.
  ...killed('resize', 'helper', built.made, 'after'),
  ...killed('resize', 'helper', built.write, 'after'),
  ...killed('resize', 'helper', built.sync, 'both'),
  ...killed('resize', 'app', built.directory, 'after'),
  ...killed('resize', 'app', database.adopted, 'both'),
  ...killed('resize', 'slave', built.directory, 'after'),
  ...killed('resize', 'slave', database.adopted, 'both'),
  // A seed.
  ...killed('seed', 'shipper', seed.staged, 'after'),
  ...killed('seed', 'shipper', seed.hold, 'after'),
  ...killed('seed', 'shipper', seed.manifest, 'both'),
  ...killed('seed', 'shipper', seed.identified, 'after'),
  ...killed('seed', 'shipper', sends('seed'), 'after'),
  ...killed('seed', 'shipper', sends('seed-data'), 'after'),
  ...killed('seed', 'slave', takes('seed-image'), 'both'),
  ...killed('seed', 'slave', seed.taken, 'after', { nth: 2 }),
  ...killed('seed', 'slave', seed.state, 'both'),
  ...killed('seed', 'slave', seed.complete, 'both'),
  ...killed('seed', 'slave', seed.databaseIn, 'both'),
  ...killed('seed from nothing', 'slave', seed.logIn, 'both'),
  ...killed('seed', 'slave', seed.completeGone, 'both'),
  // What cannot be applied.
  ...killed('lost-found', 'slave', lost.written, 'after'),
  ...killed('lost-found', 'slave', lost.named, 'both'),
  // Recovery itself.
  ...twice('updates', tornByApp, order('app|shipper', log.torn, 'after')),
  ...twice('updates', tornByApp, order('app|shipper', log.tornCopied, 'after')),
  ...twice('updates', tornByApp, order('app|shipper', log.cut, 'before')),
  ...twice('updates', tornByApp, order('app|shipper', log.cut, 'after')),
  ...twice('updates', tornBySlave, order('slave', log.torn, 'after')),
  ...twice('updates', tornBySlave, order('slave', log.cut, 'before')),
  ...twice('updates', tornBySlave, order('slave', log.cut, 'after')),
  ...(['app', 'slave'] as const).flatMap(role => {
    const provoked = role === 'app' ? 'master checkpoint' : 'slave checkpoint'
    return [database.inPlaceSync, database.catalog, database.journalInPlace].flatMap(place =>
      twice(provoked, halfInPlace(role), order(role, place, 'before')),
    )
  }),
  // When the master dies, and the way back.
  ...killed('promote', 'slave', marks.promotion, 'both'),
  ...killed('promote', 'slave', log.named, 'both'),
  ...killed('promote', 'slave', marks.role, 'both', { nth: 2 }),
  ...killed('rejoin', 'hb rejoin', marks.missingMade, 'after'),
  ...killed('rejoin', 'hb rejoin', marks.missing, 'after'),
  ...killed('rejoin', 'hb rejoin', marks.rejoin, 'both'),
  ...killed('rejoin', 'hb rejoin', marks.durableGone, 'after'),
  ...killed('rejoin', 'hb rejoin', log.cut, 'both'),
  ...killed('rejoin', 'hb rejoin', marks.ackGone, 'after'),
  ...killed('rejoin', 'hb rejoin', marks.promotionGone, 'after'),
  ...killed('rejoin', 'hb rejoin', marks.role, 'both', { nth: 2 }),
  ...killed('rejoin', 'hb rejoin', marks.fencedGone, 'after'),
  ...killed('rejoin', 'hb rejoin', marks.rejoinGone, 'both'),
  ...killed('switch', 'hb switch', marks.fenced, 'both'),
  ...killed('switch', 'hb switch', sends('promote'), 'after'),
  ...killed('switch', 'slave', takes('promote'), 'both'),
  ...killed('switch', 'slave', marks.promotion, 'after'),
  ...killed('switch', 'slave', marks.role, 'before', { nth: 3 }),
  ...killed('switch', 'hb switch', marks.rejoin, 'after'),
  ...killed('switch', 'hb switch', marks.role, 'both', { nth: 3 }),
  ...killed('switch', 'hb switch', marks.rejoinGone, 'after'),
]
