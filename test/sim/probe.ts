// The checker's way to the databases and logs that are open: reading one at an instant, without a process in between,
// is what no port offers. Nothing of what they do is changed.
import { Database } from '../../src/database/database.ts'
import { LogWriter } from '../../src/log/writer.ts'
import type { Disk } from '../../src/platform/disk.ts'

/** Where a simulated machine has its server. */
export const serverDirectory = '/srv'

const openedByDisk = new WeakMap<Disk, Database[]>()
const closed = new WeakSet<Database>()
const open = Database.open.bind(Database)

Database.open = async (platform, directory, options) => {
  const database = await open(platform, directory, options)
  const close = database.close.bind(database)
  database.close = () => {
    closed.add(database)
    return close()
  }
  // What is made ready beside it is no server's.
  if (options.readOnly !== true && directory === serverDirectory) {
    openedByDisk.set(platform.disk, [...databasesBehind(platform.disk), database])
  }
  return database
}

/** The databases that the process with this port has opened, the last one last. */
export function databasesBehind(disk: Disk): readonly Database[] {
  return openedByDisk.get(disk) ?? []
}

/** The one that it has open now. */
export function databaseBehind(disk: Disk): Database | null {
  const database = databasesBehind(disk).at(-1)
  return database === undefined || closed.has(database) ? null : database
}

const writersByDisk = new WeakMap<Disk, LogWriter[]>()
const openLog = LogWriter.open.bind(LogWriter)

LogWriter.open = async (platform, directory, options) => {
  const writer = await openLog(platform, directory, options)
  if (directory === `${serverDirectory}/log`) {
    writersByDisk.set(platform.disk, [...writersBehind(platform.disk), writer])
  }
  return writer
}

/** The logs that the process with this port has opened. */
export function writersBehind(disk: Disk): readonly LogWriter[] {
  return writersByDisk.get(disk) ?? []
}
