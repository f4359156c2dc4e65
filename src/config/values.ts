// The kinds of values that hb.toml has, each with the words in which a wrong one is refused.
import * as v from 'valibot'
import { MiB } from '../limits.ts'
import { nameFault } from '../database/names.ts'
import { isServerName, serverNameRule } from '../wire/server-name.ts'
import { parseAddress, parseListenAddress } from './address.ts'
import { isFilePattern } from './file-patterns.ts'
import { parseShare, parseSize, parseTime } from './sizes-and-times.ts'

export const hour = 3_600_000
export const cacheBytesMin = 4 * MiB

/** A value that is read by `parse`; null from it means that it is not what was expected. */
function parsed<T>(expected: string, parse: (value: unknown) => T | null) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      const value = parse(dataset.value)
      if (value !== null) return value
      addIssue({ message: `expected ${expected}, got ${JSON.stringify(dataset.value)}` })
      return NEVER
    }),
  )
}

export const name = parsed(serverNameRule, value =>
  typeof value === 'string' && isServerName(value) ? value : null,
)
const anAddress = 'HOST:PORT or [IPv6]:PORT with a port from 1024 to 65535'
export const address = parsed(anAddress, value =>
  typeof value === 'string' ? parseAddress(value) : null,
)
export const listenAddress = parsed(`${anAddress}, or *:PORT for all addresses`, value =>
  typeof value === 'string' ? parseListenAddress(value) : null,
)
export const boolean = parsed('true or false', value => (typeof value === 'boolean' ? value : null))
export const text = parsed('text in quotes', value =>
  typeof value === 'string' && value !== '' ? value : null,
)

export const command = parsed('a command in quotes, or "" for none', value =>
  typeof value === 'string' && !value.includes('\0') ? value : null,
)

export const filePattern = parsed('a pattern ACCOUNT/FILE, such as "SALES/TEMP*"', value =>
  typeof value === 'string' && isFilePattern(value) ? value : null,
)

export const fileName = parsed('a file ACCOUNT/FILE, such as "SALES/CUSTOMERS"', value => {
  const [account, file, ...more] = typeof value === 'string' ? value.split('/') : []
  if (account === undefined || file === undefined || more.length > 0) return null
  return nameFault(account) === null && nameFault(file) === null ? { account, file } : null
})

/** The number of a database of the Redis protocol, as a key. */
export const databaseNumber = v.pipe(
  v.string(),
  v.regex(/^(?:[0-9]|1[0-5])$/, issue => `expected a number from 0 to 15, got ${issue.received}`),
)

export function oneOf<const T extends string>(...words: readonly T[]) {
  const quoted = words.map(word => `"${word}"`)
  const expected = `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`
  return parsed(expected, value => words.find(word => word === value) ?? null)
}

export function wholeNumber(min: number, max: number) {
  return parsed(`a whole number from ${min} to ${max}`, value =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? value
      : null,
  )
}

export function size(min: number, max: number, range: string) {
  return parsed(`a size ${range}, such as "16MiB"`, value => {
    const bytes = typeof value === 'number' ? value : parseSize(String(value))
    return bytes !== null && Number.isInteger(bytes) && bytes >= min && bytes <= max ? bytes : null
  })
}

export function time(min: number, max: number, range: string) {
  return parsed(`a time ${range}, such as "30s"`, value => {
    const ms = typeof value === 'string' ? parseTime(value) : value === 0 ? 0 : null
    return ms !== null && ms >= min && ms <= max ? ms : null
  })
}

export const interval = parsed('a time from 1 s to 1000 days, such as "1d", or "off"', value => {
  const ms = typeof value === 'string' ? parseTime(value) : null
  if (ms !== null && ms >= 1000 && ms <= 1000 * 24 * hour) return { ms }
  return value === 'off' ? { ms: null } : null
})

export const cacheSize = parsed(
  'a size of at least 4 MiB, such as "512MiB", or a share of the memory, such as "25%"',
  value => {
    if (typeof value === 'number') return value >= cacheBytesMin ? { bytes: value } : null
    if (typeof value !== 'string') return null
    const share = parseShare(value)
    if (share !== null) return { share }
    const bytes = parseSize(value)
    return bytes !== null && bytes >= cacheBytesMin ? { bytes } : null
  },
)
