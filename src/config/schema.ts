// The keys of hb.toml, with their ranges and defaults.
import * as v from 'valibot'
import { KiB, MiB, segmentBytesDefault, segmentBytesMax, segmentBytesMin } from '../limits.ts'
import { commitLevels } from './policies.ts'
import {
  address,
  boolean,
  cacheSize,
  command,
  databaseNumber,
  fileName,
  filePattern,
  hour,
  interval,
  listenAddress,
  name,
  oneOf,
  size,
  text,
  time,
  wholeNumber,
} from './values.ts'

export const schema = v.strictObject({
  name,
  log: v.optional(
    v.strictObject({
      fsync: v.optional(oneOf('commit', 'interval', 'os'), 'commit'),
      fsync_interval: v.optional(time(1, 60_000, 'from 1 ms to 1 min'), '10ms'),
      segment_size: v.optional(
        size(segmentBytesMin, segmentBytesMax, 'from 64 KiB to 1 GiB'),
        segmentBytesDefault,
      ),
      keep_time: v.optional(time(0, 10_000 * 24 * hour, 'of up to 10000 days'), '24h'),
      keep_size: v.optional(size(0, Number.MAX_SAFE_INTEGER, 'in bytes'), '4GiB'),
    }),
    {},
  ),
  database: v.optional(v.strictObject({ cache_size: v.optional(cacheSize, '25%') }), {}),
  link: v.optional(
    v.strictObject({
      listen: v.optional(listenAddress),
      key: v.optional(text),
      seed_rate: v.optional(size(0, Number.MAX_SAFE_INTEGER, 'of bytes a second'), 0),
      window_size: v.optional(size(64 * KiB, 1024 * MiB, 'from 64 KiB to 1 GiB'), 8 * MiB),
      heartbeat: v.optional(time(100, hour, 'from 100 ms to 1 h'), '5s'),
      timeout: v.optional(time(200, 24 * hour, 'from 200 ms to 24 h'), '30s'),
    }),
    {},
  ),
  slave: v.optional(
    v.strictObject({
      apply_updates: v.optional(boolean, true),
      log_slave_updates: v.optional(boolean, false),
      auto_create: v.optional(boolean, false),
      auto_seed: v.optional(boolean, false),
      apply_delay: v.optional(time(0, 10_000 * 24 * hour, 'of up to 10000 days'), '0'),
      apply_tries: v.optional(wholeNumber(1, 1000), 3),
    }),
    {},
  ),
  helpers: v.optional(
    v.strictObject({
      size: v.optional(size(0, Number.MAX_SAFE_INTEGER, 'in bytes'), 32 * MiB),
      patience: v.optional(time(1000, hour, 'from 1 s to 1 h'), '30s'),
      tries: v.optional(wholeNumber(1, 1000), 5),
    }),
    {},
  ),
  verify: v.optional(v.strictObject({ interval: v.optional(interval, '1d') }), {}),
  queue: v.optional(
    v.strictObject({
      limit: v.optional(size(0, Number.MAX_SAFE_INTEGER, 'in bytes'), 0),
      on_limit: v.optional(oneOf('pace', 'refuse', 'drop'), 'pace'),
    }),
    {},
  ),
  commit: v.optional(
    v.strictObject({
      level: v.optional(oneOf(...commitLevels), 'local'),
      slaves: v.optional(wholeNumber(1, 1000), 1),
      timeout: v.optional(time(100, 24 * hour, 'from 100 ms to 24 h'), '10s'),
      on_timeout: v.optional(oneOf('wait', 'continue'), 'wait'),
    }),
    {},
  ),
  failover: v.optional(
    v.strictObject({
      lease: v.optional(time(0, hour, 'of up to 1 h'), '0'),
      keep_size: v.optional(size(0, Number.MAX_SAFE_INTEGER, 'in bytes'), '10GiB'),
    }),
    {},
  ),
  replicate: v.optional(
    v.strictObject({
      include: v.optional(v.array(filePattern), ['*/*']),
      exclude: v.optional(v.array(filePattern), []),
    }),
    {},
  ),
  alarm: v.optional(
    v.strictObject({
      command: v.optional(command, ''),
      level: v.optional(oneOf('error', 'warn'), 'error'),
      after: v.optional(time(1000, 24 * hour, 'from 1 s to 24 h'), '1m'),
      timeout: v.optional(time(1000, hour, 'from 1 s to 1 h'), '30s'),
    }),
    {},
  ),
  serve: v.optional(
    v.strictObject({
      listen: v.optional(address),
      max_clients: v.optional(wholeNumber(1, 100_000), 1000),
      idle_timeout: v.optional(time(0, 10_000 * 24 * hour, 'of up to 10000 days'), '0'),
      output_size: v.optional(size(1 * MiB, 1024 * MiB, 'from 1 MiB to 1 GiB'), 256 * MiB),
      flushall: v.optional(boolean, false),
      databases: v.optional(v.record(databaseNumber, fileName), {}),
    }),
    {},
  ),
  slaves: v.optional(v.array(v.strictObject({ name, address })), []),
})

export type Settings = v.InferOutput<typeof schema>
