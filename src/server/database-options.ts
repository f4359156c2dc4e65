// How a server's database is opened, by what its configuration says.
import type { DatabaseOptions } from '../database/database.ts'
import type { Config } from './config.ts'

export function databaseOptions({ type, database, slave }: Config): DatabaseOptions {
  const replica = type === 'slave'
  return { ...database, replica, autoCreate: replica && slave.autoCreate }
}
