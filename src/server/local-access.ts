// The ways to a server's data when nobody owns it: this process carries the operations out itself (see sessions.ts).
import type { Platform } from '../platform/platform.ts'
import type { Config } from '../config/config.ts'
import { Arguments, operations, type Message, type Operation } from '../data/operations.ts'
import type { Layout } from '../config/layout.ts'
import { FileReader } from './read-files.ts'
import type { Access } from './sessions.ts'

/** Nothing is locked: whoever starts the server changes what is read. */
export async function readFiles(
  platform: Platform,
  layout: Layout,
  config: Config,
): Promise<Access> {
  return accessTo(await FileReader.open(platform, layout, config), true)
}

/** Throws ERR_RUNNING when somebody else has the master open, and what opening it throws. */
export async function openMaster(platform: Platform, { directory }: Layout): Promise<Access> {
  // Loading it takes longer than most commands that only read.
  const { Master } = await import('./master.ts')
  // This opening is over before a helper would be.
  const master = await Master.open(directory, { platform, helpers: false })
  const carry = (operation: Operation, args: Arguments) => operation(master.source, args)
  const finish = () => master.filled()
  return { ...accessTo({ carry, close: () => master.close() }, false), finish }
}

interface LocalCarrier {
  carry(operation: Operation, args: Arguments): AsyncIterable<Message>
  close(): Promise<void>
}

function accessTo(local: LocalCarrier, files: boolean): Access {
  return {
    files,
    carry(name, args, body = new Uint8Array()) {
      const operation = operations[name]
      if (operation === undefined) throw new TypeError(`no operation ${name}`)
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
      return local.carry(operation, new Arguments(args, bytes))
    },
    close: () => local.close(),
  }
}
