// This package: its version, and where its own files lie that are started or opened by path, rather than imported. The
// paths hold beside this module as tsc writes it, and beside the chunk that a bundle has it in: bundles keep chunks at
// their root.
import { fileURLToPath } from 'node:url'

/** As package.json has it. */
export const version = '0.1.0'

export type Program =
  | 'cli/hb'
  | 'cli/server-process'
  | 'cli/hb-shipper'
  | 'cli/hb-slave'
  | 'server/check-process'
  | 'server/helper-process'
  | 'platform/command-process'

export function programPath(program: Program): string {
  return fileURLToPath(new URL(`./${program}.js`, import.meta.url))
}

/** Where hb(1) may be: from dist, and from build/src. */
export const manualPaths: readonly string[] = ['../man/hb.1', '../../man/hb.1'].map(place =>
  fileURLToPath(new URL(place, import.meta.url)),
)
