// Commands of Redis for what this server does not have: each is refused by what it is about.

const absent: Readonly<Record<string, string>> = {
  lists:
    'blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush rpush rpushx',
  sets: 'sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem sscan sunion sunionstore',
  'sorted sets':
    'bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore',
  scripts: 'eval eval_ro evalsha evalsha_ro fcall fcall_ro function script',
  'publish and subscribe':
    'psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe',
  'streams other than hb:log':
    'xack xadd xautoclaim xclaim xdel xgroup xpending xreadgroup xrevrange xsetid xtrim',
  hyperloglogs: 'pfadd pfcount pfdebug pfmerge pfselftest',
  'bits of strings': 'bitcount bitfield bitfield_ro bitop bitpos getbit setbit',
  'a cluster': 'asking cluster readonly readwrite',
  'replication by this protocol': 'failover psync replconf replicaof slaveof sync',
}

const byName = new Map(
  Object.entries(absent).flatMap(([what, names]) => names.split(' ').map(name => [name, what])),
)

/** What the command is about; null when it is not one of them. */
export function absentSubject(name: string): string | null {
  return byName.get(name.toLowerCase()) ?? null
}

/** All of it, for hb-resp(7): subjects with the names of their commands. */
export const absentCommands: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(absent).map(([what, names]) => [what, names.split(' ')]),
)
