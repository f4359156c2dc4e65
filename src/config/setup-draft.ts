// What Setup Server works on: the text of an hb.toml that is to be, and the key. Every answer is an edit of that
// text, and is checked by what checks hb.toml, so whatever is accepted here is accepted later, and refused in the
// same words. Nothing is written before `save`.
import path from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'smol-toml'
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { isServerName } from '../wire/server-name.ts'
import { layoutOf, type Layout } from './layout.ts'
import { addressText } from './address.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import { withoutKey, withoutSlave, withSlave, withValue } from './config-edit.ts'
import { initialConfigText } from './config-text.ts'
import { mistakeIn, parseConfig, readConfigText, type Config, type Mistake } from './config.ts'
import { readGivenKey } from './key.ts'
import { newRole, readRole, type Role, type ServerType } from './role.ts'
import { setupFields, type SetupField, type SlavesField } from './setup-fields.ts'
import { makeServer, provideKey, type KeyChoice } from './setup.ts'

type DraftPlatform = Pick<Platform, 'disk' | 'random'>
type Answer = Exclude<SetupField, { kind: 'secret' }>
type ValueField = Exclude<Answer, SlavesField>

export class SetupDraft {
  readonly layout: Layout
  /** There is a server already: its settings are changed. */
  readonly exists: boolean
  readonly #platform: DraftPlatform
  readonly #ownKey: boolean
  readonly #answers = new Map<Answer, string>()
  #base: string
  #role: Role
  #key: KeyChoice

  private constructor(
    platform: DraftPlatform,
    layout: Layout,
    base: string | null,
    role: Role,
    ownKey: boolean,
  ) {
    this.layout = layout
    this.exists = base !== null
    this.#platform = platform
    this.#ownKey = ownKey
    this.#base = base ?? newText(layout)
    this.#role = role
    this.#key = this.keyChoices()[0] ?? { kind: 'none' }
  }

  /** Throws ERR_CONFIG when there is an hb.toml that is no TOML, ERR_ROLE when it has no valid role. */
  static async open(platform: DraftPlatform, directory: string): Promise<SetupDraft> {
    const layout = layoutOf(directory)
    const exists = await platform.disk.exists(layout.config)
    const base = exists ? await readConfigText(platform.disk, layout) : null
    const role = exists ? await readRole(platform.disk, layout) : newRole('master')
    const mistake = base === null ? null : mistakeIn(base, role)
    if (base !== null && mistake?.keys.length === 0) parseConfig(base, layout, role)
    return new SetupDraft(platform, layout, base, role, await platform.disk.exists(layout.key))
  }

  get type(): ServerType {
    return this.#role.type
  }

  /** Only of a new server. */
  setType(type: ServerType): void {
    if (this.type === type) return
    this.#role = newRole(type)
    this.#key = this.keyChoices()[0] ?? { kind: 'none' }
  }

  /** The settings that mean something as it stands. */
  fields(): readonly SetupField[] {
    return setupFields.filter(({ only }) => only === null || only === this.type)
  }

  /** The setting as it stands, in the words in which it can be given. */
  shown(field: SetupField): string {
    if (field.kind === 'secret') return this.#keyText()
    if (field.kind === 'slaves') return slavesIn(this.#text()).map(slaveText).join(', ')
    return this.#shown(field.table, field.key)
  }

  /** Why that cannot be the setting; null when it can. */
  problem(field: Answer, input: string): string | null {
    if (field.kind === 'slaves') {
      const mistake = mistakeInSlaves(this.#shown(null, 'name'), input)
      if (mistake !== null) return mistake.message
    }
    const text = this.#text(new Map(this.#answers).set(field, input))
    const mistake = mistakeIn(text, this.#role)
    const unedited = 'hb.toml is written in a way that cannot be changed here: edit it by hand'
    if (mistake !== null && mistake.keys.length === 0) return unedited
    if (mistake !== null && isAbout(mistake, field)) return mistake.message
    return this.#holds(text, field, input) ? null : unedited
  }

  /** The text says what was meant. */
  #holds(text: string, field: Answer, input: string): boolean {
    if (field.kind === 'slaves') {
      return isDeepStrictEqual(slavesIn(text).map(slaveText).sort(), listOf(input).sort())
    }
    if (input === this.shown(field)) return true
    return isDeepStrictEqual(valueIn(text, field.table, field.key), valueOf(field, input))
  }

  set(field: Answer, input: string): void {
    if (input !== this.shown(field)) this.#answers.set(field, input)
  }

  /** What can be done about the key; the first is what will be done unless another one is chosen. */
  keyChoices(): readonly KeyChoice[] {
    const none: KeyChoice = { kind: 'none' }
    const kept = this.exists ? valueIn(this.#base, 'link', 'key') : undefined
    if (typeof kept === 'string') return [{ kind: 'keep', file: kept }, none]
    const taken: KeyChoice = { kind: 'take', file: '', key: null }
    const others: KeyChoice[] = this.#ownKey
      ? [{ kind: 'own' }]
      : this.type === 'master'
        ? [{ kind: 'make' }, taken]
        : [taken]
    return this.exists ? [none, ...others] : [...others, none]
  }

  get key(): KeyChoice {
    return this.#key
  }

  /** Throws ERR_KEY when there is no key in the file that is to be taken. */
  async setKey(key: KeyChoice): Promise<void> {
    const read = key.kind === 'take' ? await readGivenKey(this.#platform, key.file) : null
    this.#key = key.kind === 'take' ? { ...key, key: read } : key
  }

  /** The first thing that is wrong with all of it together, with its field when it is one of them. */
  mistake(): { readonly field: SetupField | null; readonly message: string } | null {
    const { kind } = this.#key
    if (kind === 'take' && this.#key.file === '') {
      const field = setupFields.find(each => each.kind === 'secret') ?? null
      return { field, message: 'the key of the master is needed, or none' }
    }
    const mistake = mistakeIn(this.#text(), this.#role)
    if (mistake === null) return null
    const field = this.fields().find(each => isAbout(mistake, each)) ?? null
    return { field, message: `${mistake.keys.join('.')}: ${mistake.message}` }
  }

  /** True when `save` would change something. */
  get changed(): boolean {
    return !this.exists || this.#text() !== this.#base
  }

  /** Makes the server, or changes its settings. Throws ERR_EXISTS, ERR_CONFIG, ERR_KEY, ERR_DISK. */
  async save(): Promise<Config> {
    const text = this.#text()
    if (!this.exists) {
      return makeServer(this.#platform, this.layout, this.type, text, this.#key)
    }
    const config = parseConfig(text, this.layout, this.#role)
    await provideKey(this.#platform, this.layout, this.#key)
    const { disk } = this.#platform
    if ((await readConfigText(disk, this.layout)) !== this.#base) {
      const message = `${this.layout.config} has been changed by another program meanwhile`
      const hint = 'Run "hb setup" again; nothing of it was written over.'
      throw new HotBackupError('ERR_CONFIG', message, { path: this.layout.config }, undefined, hint)
    }
    // Through a symbolic link: it is where the operator keeps the file.
    const place = await disk.realPath(this.layout.config)
    if (text !== this.#base) await writeFileAtomic(disk, place, Buffer.from(text))
    return config
  }

  #text(answers: ReadonlyMap<Answer, string> = this.#answers): string {
    let text = this.#base
    for (const [field, input] of answers) {
      if (field.only === null || field.only === this.type) text = answered(text, field, input)
    }
    if (this.#key.kind === 'keep') return text
    return this.#key.kind === 'none'
      ? withoutKey(text, 'link', 'key')
      : withValue(text, 'link', 'key', '"hb.key"')
  }

  #shown(table: string | null, key: string): string {
    const text = this.#text()
    const given = valueIn(text, table, key)
    if (given === undefined && key === 'listen' && mistakeIn(text, this.#role) === null) {
      return addressText(parseConfig(text, this.layout, this.#role).link.listen)
    }
    return wordsOf(given ?? valueIn(defaultsText(this.layout), table, key))
  }

  #keyText(): string {
    switch (this.#key.kind) {
      case 'make':
        return 'a new one is made'
      case 'own':
        return 'hb.key in the directory'
      case 'keep':
        return this.#key.file
      case 'take':
        return this.#key.file === '' ? '' : `a copy of ${this.#key.file}`
      case 'none':
        return 'none: nothing is encrypted, addresses of this machine only'
    }
  }
}

function newText(layout: Layout): string {
  const name = path.basename(layout.directory)
  return initialConfigText({
    name: isServerName(name) ? name : '',
    listen: null,
    key: true,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
}

/** A new hb.toml shows the default of every key that it does not set. */
function defaultsText(layout: Layout): string {
  return newText(layout).replaceAll(/^# (\w+ = )/gm, '$1')
}

function valueIn(text: string, table: string | null, key: string): unknown {
  const document = parse(text)
  const values = table === null ? document : document[table]
  return isTable(values) ? values[key] : undefined
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface SlaveWords {
  readonly name: string
  readonly address: string
}

function slavesIn(text: string): SlaveWords[] {
  const slaves: unknown = parse(text).slaves
  if (!Array.isArray(slaves)) return []
  return slaves.filter(isTable).map(({ name, address }) => {
    return { name: wordsOf(name), address: wordsOf(address) }
  })
}

function slaveText({ name, address }: SlaveWords): string {
  return `${name}=${address}`
}

function slaveOf(text: string): SlaveWords {
  const [name = '', ...rest] = text.split('=')
  return { name: name.trim(), address: rest.join('=').trim() }
}

/** In a small hb.toml of its own, where any text can be given for name and address. */
function mistakeInSlaves(own: string, input: string): Mistake | null {
  const tables = listOf(input)
    .map(slaveOf)
    .map(
      ({ name, address }) =>
        `[[slaves]]\nname = ${JSON.stringify(name)}\naddress = ${JSON.stringify(address)}\n`,
    )
  const head = `name = ${JSON.stringify(own)}\n[link]\nkey = "hb.key"\n`
  const mistake = mistakeIn(head + tables.join(''), newRole('master'))
  return mistake?.keys[0] === 'slaves' ? mistake : null
}

function listOf(input: string): string[] {
  return input
    .split(',')
    .map(part => part.trim().replaceAll(/\s*=\s*/g, '='))
    .filter(part => part !== '')
}

function wordsOf(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join(', ')
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return value === undefined ? '' : JSON.stringify(value)
}

/** The value that the operator means, as it is in TOML. */
function valueOf(field: ValueField, input: string): unknown {
  if (field.kind === 'list') return listOf(input)
  if (field.kind === 'switch') return input === 'on'
  return field.kind === 'number' && /^\d{1,15}$/.test(input) ? Number(input) : input
}

function answered(text: string, field: Answer, input: string): string {
  if (field.kind !== 'slaves') {
    const value = valueOf(field, input)
    if (isDeepStrictEqual(valueIn(text, field.table, field.key), value)) return text
    return withValue(text, field.table, field.key, JSON.stringify(value))
  }
  const wanted = listOf(input).map(slaveOf)
  let edited = text
  const present = slavesIn(text)
  for (const { name, address } of present) {
    if (!wanted.some(slave => slave.name === name)) edited = withoutSlave(edited, name, address)
  }
  for (const { name, address } of wanted) {
    const stays = present.some(slave => slave.name === name && slave.address === address)
    if (!stays) edited = withSlave(edited, name, address)
  }
  return edited
}

function isAbout({ keys }: Mistake, field: SetupField): boolean {
  if (field.kind === 'slaves') return keys[0] === 'slaves'
  if (field.kind === 'secret') return keys.join('.') === 'link.key'
  const own = field.table === null ? [field.key] : [field.table, field.key]
  return own.every((key, at) => keys[at] === key) // Behind that may be the place in a list.
}
