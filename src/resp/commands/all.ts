// All commands.
import type { Command } from '../command.ts'
import { connectionCommands } from './connection.ts'
import { counterCommands } from './counters.ts'
import { genericCommands } from './generic.ts'
import { hashCommands } from './hashes.ts'
import { hotbackupCommands } from './hotbackup.ts'
import { replicationCommands } from './replication.ts'
import { serverCommands } from './server.ts'
import { streamCommands } from './stream.ts'
import { stringCommands } from './strings.ts'
import { transactionCommands } from './transactions.ts'

export const allCommands: readonly Command[] = [
  ...connectionCommands,
  ...stringCommands,
  ...counterCommands,
  ...hashCommands,
  ...genericCommands,
  ...transactionCommands,
  ...replicationCommands,
  ...serverCommands,
  ...streamCommands,
  ...hotbackupCommands,
]
