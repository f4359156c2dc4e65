// Setup Server: makes a server's directory. hb.toml comes last, so that a directory with one is complete. It holds what
// the server needs as a master and as a slave; which of them it is now says DIR/role.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import type { SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { isServerName, serverNameRule } from '../wire/server-name.ts'
import { layoutOf, type Layout } from './layout.ts'
import { parseAddress, parseListenAddress } from './address.ts'
import { checkClosed } from './closed.ts'
import { initialConfigText, type InitialSettings } from './config-text.ts'
import { parseConfig, type Config } from './config.ts'
import { makeServerId } from './identity.ts'
import { makeKey, readGivenKey, readKey, writeKey } from './key.ts'
import { newRole, writeRole, type ServerType } from './role.ts'

export interface SetupOptions {
  readonly type: ServerType
  readonly name: string
  /** The key of the other servers. Null: a master makes a key, a slave has none. False: none at all. */
  readonly key: SharedKey | null | false
  readonly listen: string | null
  /** NAME=HOST:PORT each. */
  readonly slaves: readonly string[]
  readonly applyUpdates: boolean
  readonly logSlaveUpdates: boolean
  readonly autoCreate: boolean
}

type SetupPlatform = Pick<Platform, 'disk' | 'random'>

/** Where hb.key comes from. */
export type KeyChoice =
  | { readonly kind: 'make' }
  /** It lies in the directory. */
  | { readonly kind: 'own' }
  /** The key in another file; hb.key may be there if it is the same. Null: it was not read yet. */
  | { readonly kind: 'take'; readonly file: string; readonly key: SharedKey | null }
  /** hb.toml names this file, and goes on doing so. */
  | { readonly kind: 'keep'; readonly file: string }
  | { readonly kind: 'none' }

/** Throws ERR_EXISTS when there is a server already, ERR_USAGE, ERR_KEY, ERR_OPEN_TO_OTHERS, ERR_DISK. */
export async function setup(
  platform: SetupPlatform,
  directory: string,
  options: SetupOptions,
): Promise<Config> {
  const layout = layoutOf(directory)
  await refuseServer(platform, layout)
  await checkClosed(platform.disk, layout, null)
  const settings = checkOptions(options)
  const key = await keyChoice(platform, layout, options)
  const text = initialConfigText({ ...settings, key: key.kind !== 'none' })
  // What would be refused later is refused now, before anything is made.
  checkText(text, layout, options.type)
  return makeServer(platform, layout, options.type, text, key)
}

/** Makes the server with that hb.toml. Throws ERR_EXISTS, ERR_CONFIG, ERR_KEY, ERR_DISK. */
export async function makeServer(
  platform: SetupPlatform,
  layout: Layout,
  type: ServerType,
  text: string,
  key: KeyChoice,
): Promise<Config> {
  await refuseServer(platform, layout)
  await checkClosed(platform.disk, layout, null)
  const role = newRole(type)
  const config = parseConfig(text, layout, role)
  if (key.kind === 'take' && key.key === null) await readGivenKey(platform, key.file)
  for (const made of [layout.directory, layout.run, layout.slaves]) {
    await platform.disk.makeDirectory(made)
  }
  await provideKey(platform, layout, key)
  await makeServerId(platform, layout)
  await writeRole(platform.disk, layout, role)
  await writeFileAtomic(platform.disk, layout.config, Buffer.from(text))
  return config
}

async function refuseServer(
  { disk }: Pick<Platform, 'disk'>,
  { directory, config }: Layout,
): Promise<void> {
  if (!(await disk.exists(config))) return
  const message = `${directory} is a server already: it has an hb.toml`
  const hint = 'Name another directory with -d, or change hb.toml of this one.'
  throw new HotBackupError('ERR_EXISTS', message, { path: config }, undefined, hint)
}

async function keyChoice(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  { key, type }: SetupOptions,
): Promise<KeyChoice> {
  if (key === false) return { kind: 'none' }
  if (key !== null) return { kind: 'take', file: layout.key, key }
  if (await disk.exists(layout.key)) return { kind: 'own' }
  return { kind: type === 'master' ? 'make' : 'none' }
}

/** A key that lies in the directory already is taken, but never another one than was asked for. */
export async function provideKey(
  platform: SetupPlatform,
  layout: Layout,
  choice: KeyChoice,
): Promise<void> {
  if (choice.kind === 'none' || choice.kind === 'keep') return
  if (choice.kind === 'make') return makeKey(platform, layout.key)
  const there = choice.kind === 'own' || (await platform.disk.exists(layout.key))
  const own = there ? await readKey(platform, layout.key) : null
  if (choice.kind === 'own') return
  const given = choice.key ?? (await readGivenKey(platform, choice.file))
  if (own === null) return writeKey(platform, layout.key, given)
  if (Buffer.compare(own.bytes, given.bytes) === 0) return
  const message = `${layout.key} exists already and is another key`
  const hint = 'Leave --key out to keep it, or move it away.'
  throw new HotBackupError('ERR_EXISTS', message, { path: layout.key }, undefined, hint)
}

/** There is no hb.toml yet: what is wrong are the options. */
function checkText(text: string, layout: Layout, type: ServerType): void {
  try {
    parseConfig(text, layout, newRole(type))
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_CONFIG')) throw error
    throw usage(error.message.replace(/^hb\.toml line \d+: /, ''))
  }
}

function checkOptions(options: SetupOptions): Omit<InitialSettings, 'key'> {
  const { name, listen } = options
  checkName(name)
  if (listen !== null) checkAddress(listen, parseListenAddress)
  const slaves = options.slaves.map(text => {
    const at = text.indexOf('=')
    if (at < 0) throw usage(`--slave needs NAME=HOST:PORT, got "${text}"`)
    const slave = { name: text.slice(0, at), address: text.slice(at + 1) }
    checkName(slave.name)
    checkAddress(slave.address)
    return slave
  })
  const { applyUpdates, logSlaveUpdates, autoCreate } = options
  return { name, listen, slaves, applyUpdates, logSlaveUpdates, autoCreate }
}

function checkName(name: string): void {
  if (!isServerName(name)) throw usage(`a server's name is ${serverNameRule}, got "${name}"`)
}

function checkAddress(text: string, parse = parseAddress): void {
  if (parse(text) !== null) return
  throw usage(
    `an address is HOST:PORT or [IPv6]:PORT with a port from 1024 to 65535, got "${text}"`,
  )
}

function usage(message: string): HotBackupError {
  return new HotBackupError('ERR_USAGE', message)
}
