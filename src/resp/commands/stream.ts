// The change feed: the log as the stream "hb:log".
import { isHotBackupError } from '../../errors.ts'
import type { Answer, Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import {
  pageEntriesMax,
  type Feed,
  type FeedEntry,
  type FeedPage,
  type FeedPosition,
} from '../feed.ts'
import { feedKey, isFeed } from '../keyspace.ts'
import { typeOf } from '../keys.ts'
import { clampedArgument, numberArgument } from '../numbers.ts'
import type { Reply } from '../reply.ts'
import { ReplyError, syntaxError, wrongType } from '../reply-error.ts'
import type { Request } from '../request.ts'
import type { Session } from '../session.ts'

const wrongId = 'ERR Invalid stream ID specified as stream command argument'

/** An id, with `index` where it has none of its own. */
function idArgument(request: Request, at: number, index: number, from = 0): FeedPosition {
  const text = request.latin1(at).slice(from)
  const match = /^(\d{1,20})(?:-(\d{1,20}))?$/.exec(text)
  if (match === null) throw new ReplyError(wrongId)
  const clamp = (digits: string) => Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
  return { txn: clamp(match[1]!), index: match[2] === undefined ? index : clamp(match[2]) }
}

/** The first place behind an entry. */
function behind({ txn, index }: FeedPosition): FeedPosition {
  return { txn, index: index + 1 }
}

function writeEntry(reply: Reply, { txn, index, fields }: FeedEntry): void {
  reply.array(2)
  reply.bulkText(`${txn}-${index}`)
  reply.array(fields.length)
  for (const field of fields) reply.bulk(field)
}

function writeEntries(reply: Reply, entries: readonly FeedEntry[]): void {
  reply.array(entries.length)
  for (const entry of entries) writeEntry(reply, entry)
}

/** The key is the feed; false when there is nothing at it. Throws WRONGTYPE. */
function feedAt(call: Call, index: number): boolean {
  const { request } = call
  if (isFeed(request.bytes, request.start(index), request.end(index))) return true
  if (typeOf(call, index) !== 'none') throw new ReplyError(wrongType)
  return false
}

interface ReadOptions {
  readonly count: number
  /** Null: does not wait; 0: for ever. */
  readonly blockMs: number | null
  /** Behind which entry; null: the feed is not asked for. */
  readonly from: FeedPosition | null
}

function readOptions(call: Call, feed: Feed): ReadOptions {
  const { request } = call
  let count = pageEntriesMax
  let blockMs: number | null = null
  let at = 1
  for (; at < request.count && !request.is(at, 'streams'); at += 2) {
    if (at + 1 >= request.count) throw new ReplyError(syntaxError)
    if (request.is(at, 'count')) {
      const wanted = clampedArgument(request, at + 1)
      if (wanted > 0) count = Math.min(wanted, pageEntriesMax)
    } else if (request.is(at, 'block')) {
      const wrong = 'ERR timeout is not an integer or out of range'
      blockMs = numberArgument(request, at + 1, undefined, undefined, wrong)
      if (blockMs < 0) throw new ReplyError('ERR timeout is negative')
    } else throw new ReplyError(syntaxError)
  }
  const first = at + 1
  const streams = (request.count - first) / 2
  if (at >= request.count || streams === 0) throw new ReplyError(syntaxError)
  if (!Number.isInteger(streams)) {
    throw new ReplyError(
      "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
    )
  }
  let from: FeedPosition | null = null
  for (let index = first; index < first + streams; index++) {
    const there = feedAt(call, index)
    const last = request.is(index + streams, '$')
    const id = last ? { txn: feed.lastTxn + 1, index: 0 } : behindArgument(request, index + streams)
    if (there) from = id
  }
  return { count, blockMs, from }
}

function behindArgument(request: Request, index: number): FeedPosition {
  return behind(idArgument(request, index, 0))
}

const nothing: Answer = reply => reply.nilArray()

function found(page: FeedPage): Answer {
  return reply => {
    if (reply.protocol === 3) reply.map(1)
    else {
      reply.array(1)
      reply.array(2)
    }
    reply.bulkText(feedKey)
    writeEntries(reply, page.entries)
  }
}

function xread(call: Call): void | Promise<Answer> {
  if (call.inTransaction) throw new ReplyError('ERR hb:log is not read inside a transaction')
  const { context, opened, session } = call
  const { feed } = opened
  const { count, blockMs, from } = readOptions(call, feed)
  if (from === null && blockMs === null) return call.reply.nilArray()
  const deadline =
    blockMs === null || blockMs === 0 ? Infinity : context.clock.monotonic() + blockMs
  const more = (behindTxn: number): Promise<'more' | 'end'> =>
    blockMs === null
      ? Promise.resolve('end')
      : moreOr(session, feed, behindTxn, deadline - context.clock.monotonic(), context.clock)
  return follow(feed, from ?? { txn: Infinity, index: 0 }, count, more)
}

async function follow(
  feed: Feed,
  from: FeedPosition,
  count: number,
  more: (behindTxn: number) => Promise<'more' | 'end'>,
): Promise<Answer> {
  for (let next = from; ;) {
    const { lastTxn } = feed
    const page = await feed.read(next, count)
    if (page.entries.length > 0) return found(page)
    // What was looked at in vain is not looked at again.
    next = page.next
    if ((await more(lastTxn)) === 'end') return nothing
  }
}

/**
 * Resolves when the log is durable further than that transaction, when the time is over, or when the client waits no
 * more.
 */
function moreOr(
  session: Session,
  feed: Feed,
  behindTxn: number,
  leftMs: number,
  clock: Call['context']['clock'],
): Promise<'more' | 'end'> {
  if (leftMs <= 0) return Promise.resolve('end')
  if (feed.lastTxn > behindTxn) return Promise.resolve('more')
  return new Promise((resolve, reject) => {
    const forget = feed.onMore(() => end('more'))
    const timer = leftMs === Infinity ? null : clock.after(leftMs, () => end('end'), true)
    const end = (outcome: 'more' | 'end') => {
      session.blocked = null
      forget()
      timer?.cancel()
      resolve(outcome)
    }
    session.blocked = {
      unblock: error => {
        if (error !== null) reject(new ReplyError(error))
        end('end')
      },
    }
  })
}

interface Bound {
  readonly position: FeedPosition
  /** "-" or "+". */
  readonly open: boolean
}

function bound(request: Request, at: number, sign: '-' | '+'): Bound {
  const last = sign === '+'
  if (request.is(at, '-')) return { position: { txn: 0, index: 0 }, open: !last }
  const end = { txn: Number.MAX_SAFE_INTEGER, index: Number.MAX_SAFE_INTEGER }
  if (request.is(at, '+')) return { position: end, open: last }
  const exclusive = request.length(at) > 1 && request.bytes[request.start(at)] === 0x28
  const id = idArgument(request, at, last ? Number.MAX_SAFE_INTEGER : 0, exclusive ? 1 : 0)
  if (!exclusive) return { position: last ? behind(id) : id, open: false }
  return { position: last ? id : behind(id), open: false }
}

function xrange(call: Call): void | Promise<Answer> {
  if (call.inTransaction) throw new ReplyError('ERR hb:log is not read inside a transaction')
  const { request, reply, opened } = call
  const start = bound(request, 2, '-')
  const end = bound(request, 3, '+').position
  let count = pageEntriesMax
  if (request.count > 4) {
    if (request.count !== 6 || !request.is(4, 'count')) throw new ReplyError(syntaxError)
    const wanted = clampedArgument(request, 5)
    if (wanted === 0) return reply.nilArray()
    if (wanted > 0) count = Math.min(count, wanted)
  }
  if (!feedAt(call, 1)) return reply.array(0)
  return range(opened.feed, start, end, count)
}

async function range(feed: Feed, start: Bound, end: FeedPosition, count: number): Promise<Answer> {
  const { entries } = start.open
    ? await fromFirst(feed, count, end.txn)
    : await feed.read(start.position, count, end.txn)
  const within = entries.filter(({ txn, index }) => txn < end.txn || index < end.index)
  return reply => writeEntries(reply, within)
}

/** From the first transaction that the log holds: the oldest segment may go while it is being looked for. */
async function fromFirst(feed: Feed, count: number, lastTxn = Infinity): Promise<FeedPage> {
  for (let first = await feed.firstTxn(); ;) {
    try {
      return await feed.read({ txn: first, index: 0 }, count, lastTxn)
    } catch (error) {
      const next = await feed.firstTxn()
      if (!isHotBackupError(error, 'ERR_LOG_REMOVED') || next === first) throw error
      first = next
    }
  }
}

function xlen(call: Call): void {
  if (!feedAt(call, 1)) return call.reply.integer(0)
  const { firstTxn } = call.opened.store.facts()
  call.reply.integer(Math.max(0, call.opened.feed.lastTxn - firstTxn + 1))
}

function xinfoStream(call: Call): Promise<Answer> {
  if (!feedAt(call, 2)) throw new ReplyError('ERR no such key')
  return describe(call.opened.feed)
}

async function describe(feed: Feed): Promise<Answer> {
  const first = await feed.firstTxn()
  const { lastTxn } = feed
  const oldest = (await fromFirst(feed, 1)).entries[0] ?? null
  let latest: FeedEntry | null = null
  // The last transactions may be about the log itself.
  for (let back = 1; latest === null && back <= lastTxn - first + 1; back *= 4) {
    const from = { txn: Math.max(first, lastTxn - back + 1), index: 0 }
    latest = (await feed.read(from, pageEntriesMax, lastTxn)).entries.at(-1) ?? null
  }
  const id = (entry: FeedEntry | null) => (entry === null ? '0-0' : `${entry.txn}-${entry.index}`)
  const write = (reply: Reply, entry: FeedEntry | null) => {
    if (entry === null) reply.nil()
    else writeEntry(reply, entry)
  }
  return reply => {
    const text = (key: string, value: string) => {
      reply.bulkText(key)
      reply.bulkText(value)
    }
    const number = (key: string, value: number) => {
      reply.bulkText(key)
      reply.integer(value)
    }
    reply.map(10)
    number('length', Math.max(0, lastTxn - first + 1))
    number('radix-tree-keys', 0)
    number('radix-tree-nodes', 0)
    text('last-generated-id', id(latest))
    text('max-deleted-entry-id', first > 1 ? `${first - 1}-0` : '0-0')
    number('entries-added', lastTxn)
    text('recorded-first-entry-id', id(oldest))
    number('groups', 0)
    reply.bulkText('first-entry')
    write(reply, oldest)
    reply.bulkText('last-entry')
    write(reply, latest)
  }
}

function row(name: string, rest: CommandRow): Command {
  return command('stream', name, rest)
}

export const streamCommands: readonly Command[] = [
  container('stream', 'xinfo', { since: '5.0.0', summary: 'Commands about the stream.' }, [
    row('xinfo|stream', {
      arity: -3,
      flags: 'readonly',
      keys: [2, 2, 1],
      since: '5.0.0',
      syntax: 'key',
      summary: 'Tells about the stream, with its first and last entry.',
      run: xinfoStream,
    }),
  ]),
  row('xlen', {
    arity: 2,
    flags: 'readonly fast',
    keys: [1, 1, 1],
    since: '5.0.0',
    syntax: 'key',
    summary: 'Counts the transactions that the log holds.',
    run: xlen,
  }),
  row('xrange', {
    arity: -4,
    flags: 'readonly',
    keys: [1, 1, 1],
    since: '5.0.0',
    syntax: 'key start end [COUNT count]',
    summary: 'Returns entries by their ids.',
    run: xrange,
  }),
  row('xread', {
    arity: -4,
    flags: 'readonly blocking movablekeys',
    since: '5.0.0',
    syntax: '[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]',
    summary: 'Returns the entries behind an id, and waits for them if it is told to.',
    run: xread,
  }),
]
