// WAIT, WAITAOF and ROLE: how far the slaves have come.
import type { Answer, Call } from '../call.ts'
import { command, type Command } from '../command.ts'
import { notAnInteger, numberArgument } from '../numbers.ts'
import type { Reply } from '../reply.ts'
import { ReplyError } from '../reply-error.ts'
import type { Session } from '../session.ts'
import type { FollowLevel, Followers } from '../store.ts'

/** 0 stands for ever. */
function timeoutArgument({ request }: Call, index: number): number | null {
  const wrong = 'ERR timeout is not an integer or out of range'
  const ms = numberArgument(request, index, undefined, undefined, wrong)
  if (ms < 0) throw new ReplyError('ERR timeout is negative')
  return ms === 0 ? null : ms
}

const onReplica =
  ' cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.'

function followersOf({ opened, session }: Call): Followers {
  const { followers } = opened.store
  if (followers !== null) return followers
  throw new ReplyError(`ERR ${session.lastCommand.toUpperCase()}${onReplica}`)
}

/** The last write of this connection, also one of this very turn. */
function lastWrite({ direct, opened, session }: Call): number {
  const { writes } = opened.store
  if (direct.wrote && writes !== null) session.lastTxn = writes.lastTxn
  return session.lastTxn
}

/** The number of slaves that have got there, when there are enough of them, or in the end. */
function reached(
  session: Session,
  followers: Followers,
  txn: number,
  level: FollowLevel,
  wanted: number,
  timeoutMs: number | null,
): Promise<number> {
  const ended = new Promise<number>((resolve, reject) => {
    session.blocked = {
      unblock: error => {
        if (error === null) resolve(followers.count(txn, level))
        else reject(new ReplyError(error))
      },
    }
  })
  const reaching = followers.reaching(txn, level, wanted, timeoutMs)
  return Promise.race([reaching, ended]).finally(() => {
    session.blocked = null
  })
}

function wait(call: Call): void | Promise<Answer> {
  const { request, reply, session } = call
  const followers = followersOf(call)
  const wanted = numberArgument(request, 1)
  const timeoutMs = timeoutArgument(call, 2)
  const txn = lastWrite(call)
  const now = followers.count(txn, 'applied')
  if (now >= wanted || call.inTransaction) return reply.integer(now)
  return reached(session, followers, txn, 'applied', wanted, timeoutMs).then(
    count => answer => answer.integer(count),
  )
}

function waitaof(call: Call): void | Promise<Answer> {
  const { request, reply, session, opened } = call
  const outOfRange = 'ERR value is out of range, must be between 0 and 1'
  const local = numberArgument(request, 1, undefined, undefined, notAnInteger)
  if (local < 0 || local > 1) throw new ReplyError(outOfRange)
  const wanted = numberArgument(
    request,
    2,
    0,
    undefined,
    'ERR value is out of range, must be positive',
  )
  const timeoutMs = timeoutArgument(call, 3)
  const followers = followersOf(call)
  const { store } = opened
  const txn = lastWrite(call)
  const here = () => (store.durableTxn >= txn ? 1 : 0)
  const now = followers.count(txn, 'durable')
  const answer = (reply: Reply, slaves: number) => {
    reply.array(2)
    reply.integer(here())
    reply.integer(slaves)
  }
  if ((now >= wanted && here() >= local) || call.inTransaction) return answer(reply, now)
  const slaves =
    now >= wanted
      ? Promise.resolve(now)
      : reached(session, followers, txn, 'durable', wanted, timeoutMs)
  const durable = local === 0 ? Promise.resolve() : store.settled()
  return Promise.all([slaves, durable]).then(
    ([count]) =>
      reply =>
        answer(reply, count),
  )
}

function role({ opened, reply }: Call): void {
  const { store } = opened
  const facts = store.facts()
  if (store.writes === null) {
    reply.array(5)
    reply.bulkText('slave')
    reply.bulkUtf8(facts.master?.name ?? '')
    reply.integer(0)
    reply.bulkText(facts.master?.connected === true ? 'connected' : 'connect')
    reply.integer(facts.appliedTxn)
    return
  }
  const here = facts.slaves.filter(({ appliedTxn }) => appliedTxn !== null)
  reply.array(3)
  reply.bulkText('master')
  reply.integer(facts.lastTxn)
  reply.array(here.length)
  for (const { host, port, appliedTxn } of here) {
    reply.array(3)
    reply.bulkUtf8(host)
    reply.bulkText(String(port))
    reply.bulkText(String(appliedTxn))
  }
}

export const replicationCommands: readonly Command[] = [
  command('server', 'role', {
    arity: 1,
    flags: 'noscript loading stale fast',
    since: '2.8.12',
    summary: 'Returns whether the server is a master or a slave, and who follows it.',
    run: role,
  }),
  command('generic', 'wait', {
    arity: 3,
    flags: 'noscript',
    since: '3.0.0',
    syntax: 'numreplicas timeout',
    summary: "Waits until so many slaves have applied this connection's last write.",
    run: wait,
  }),
  command('generic', 'waitaof', {
    arity: 4,
    flags: 'noscript',
    since: '7.2.0',
    syntax: 'numlocal numreplicas timeout',
    summary: "Waits until this connection's last write is durable here and on so many slaves.",
    run: waitaof,
  }),
]
