// Setup Server: makes a server's directory. hb.toml comes last, so that a directory with one is complete.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import type { Platform } from '../platform/platform.ts'
import { parseAddress } from './address.ts'
import {
  isServerName,
  parseConfig,
  serverNameRule,
  type Config,
  type ServerType,
} from './config.ts'
import { initialConfigText, type InitialSettings } from './config-text.ts'
import { makeServerId } from './identity.ts'
import { makeKey, readKey, writeKey } from './key.ts'
import { layoutOf, type Layout } from './layout.ts'

export interface SetupOptions {
  readonly type: ServerType
  readonly name: string
  /** A key file to take over. Null: a master makes a key, a slave has none. False: none at all. */
  readonly keyFile: string | null | false
  readonly listen: string | null
  /** NAME=HOST:PORT each. */
  readonly slaves: readonly string[]
  readonly applyUpdates: boolean
  readonly logSlaveUpdates: boolean
  readonly autoCreate: boolean
}

type SetupPlatform = Pick<Platform, 'disk' | 'random' | 'fileModes'>

/** Throws ERR_EXISTS when there is a server already, ERR_USAGE, ERR_KEY, ERR_DISK. */
export async function setup(
  platform: SetupPlatform,
  directory: string,
  options: SetupOptions,
): Promise<Config> {
  const layout = layoutOf(directory)
  if (await platform.disk.exists(layout.config)) {
    const message = `${layout.directory} is a server already: it has an hb.toml`
    throw new HotBackupError('ERR_EXISTS', message, { path: layout.config })
  }
  const settings = checkOptions(options)
  const ownKey = options.keyFile !== false && (await platform.disk.exists(layout.key))
  const key =
    options.keyFile !== false && (ownKey || options.keyFile !== null || options.type === 'master')
  const text = initialConfigText({ ...settings, key })
  // What would be refused later is refused now, before anything is made.
  const config = checkText(text, layout)
  const given =
    typeof options.keyFile === 'string' ? await readKey(platform, options.keyFile) : null

  for (const made of [layout.directory, layout.run, layout.slaves]) {
    await platform.disk.makeDirectory(made)
  }
  if (ownKey) await checkSameKey(platform, layout, given)
  else if (given !== null) await writeKey(platform, layout.key, given)
  else if (key) await makeKey(platform, layout.key)
  await makeServerId(platform, layout)
  await writeFileAtomic(platform.disk, layout.config, Buffer.from(text))
  return config
}

/** There is no hb.toml yet: what is wrong are the options. */
function checkText(text: string, layout: Layout): Config {
  try {
    return parseConfig(text, layout)
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_CONFIG')) throw error
    throw usage(error.message.replace(/^hb\.toml line \d+: /, ''))
  }
}

/** A key that lies in the directory already is taken, but never another one than was asked for. */
async function checkSameKey(
  platform: SetupPlatform,
  layout: Layout,
  given: { readonly bytes: Uint8Array } | null,
): Promise<void> {
  const own = await readKey(platform, layout.key)
  if (given === null || Buffer.compare(own.bytes, given.bytes) === 0) return
  throw new HotBackupError('ERR_EXISTS', `${layout.key} exists already and is another key`, {
    path: layout.key,
  })
}

function checkOptions(options: SetupOptions): Omit<InitialSettings, 'key'> {
  const { type, name, listen } = options
  checkName(name)
  if (listen !== null) {
    if (type === 'master') throw usage('--listen is for slaves: a master calls its slaves')
    checkAddress(listen)
  }
  const slaves = options.slaves.map(text => {
    const at = text.indexOf('=')
    if (at < 0) throw usage(`--slave needs NAME=HOST:PORT, got "${text}"`)
    const slave = { name: text.slice(0, at), address: text.slice(at + 1) }
    checkName(slave.name)
    checkAddress(slave.address)
    return slave
  })
  const { applyUpdates, logSlaveUpdates, autoCreate } = options
  return { type, name, listen, slaves, applyUpdates, logSlaveUpdates, autoCreate }
}

function checkName(name: string): void {
  if (!isServerName(name)) throw usage(`a server's name is ${serverNameRule}, got "${name}"`)
}

function checkAddress(text: string): void {
  if (parseAddress(text) !== null) return
  throw usage(`an address is HOST:PORT with a port from 1024 to 65535, got "${text}"`)
}

function usage(message: string): HotBackupError {
  return new HotBackupError('ERR_USAGE', message)
}
