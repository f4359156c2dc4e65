// Loaded into a process (--import) in which a bug is planted: the one that HB_SIM_PLANTED names.
import { register } from 'node:module'
import { planted, plant } from './planted.ts'

const name = process.env['HB_SIM_PLANTED']
const bug = planted.find(known => known.name === name)
if (bug === undefined) throw new Error(`there is no planted bug ${name}`)

type Load = (
  url: string,
  context: object,
  next: (url: string, context: object) => Promise<{ source?: string | Uint8Array }>,
) => Promise<object>

/** Only in the thread of the loader. */
export const load: Load = async (url, context, next) => {
  const loaded = await next(url, context)
  const file = /\/build\/src\/(.*)$/.exec(url)?.[1]
  if (file === undefined || !bug.changes.some(change => change.file === file)) return loaded
  return { ...loaded, source: plant(bug, file, Buffer.from(loaded.source ?? '').toString()) ?? '' }
}

// The loader's thread loads this very module, and must not register again.
if (process.env['HB_SIM_LOADER'] !== 'registered') {
  process.env['HB_SIM_LOADER'] = 'registered'
  register(import.meta.url)
}
