// How a server's database is opened, by what its configuration says.
import type { DatabaseOptions } from '../database/options.ts'
import type { Config } from './config.ts'

/** `helped`: by a server that has helpers for long work; everybody else does all of it at once. */
export function databaseOptions(
  { type, database, slave, helpers }: Config,
  helped: boolean,
): DatabaseOptions {
  const replica = type === 'slave'
  const longWork = helped ? { bytes: helpers.bytes } : null
  return { ...database, replica, autoCreate: replica && slave.autoCreate, longWork }
}
