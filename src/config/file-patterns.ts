// Which files a master replicates by its hb.toml: patterns of ACCOUNT/FILE. A file goes to the slaves when an include
// pattern fits and no exclude pattern does.

/** "*" stands for any characters but a slash, "?" for one; all others for themselves. */
export function isFilePattern(text: string): boolean {
  return /^[^/]+\/[^/]+$/.test(text)
}

export interface PatternVerdict {
  readonly excluded: boolean
  /** The pattern that decided; null when no include pattern fits. */
  readonly pattern: string | null
}

export class FilePatterns {
  readonly #include: readonly Pattern[]
  readonly #exclude: readonly Pattern[]

  constructor({ include, exclude }: ReplicatePolicy) {
    this.#include = include.map(compile)
    this.#exclude = exclude.map(compile)
  }

  verdict(account: string, file: string): PatternVerdict {
    const name = `${account}/${file}`
    const fits = ({ expression }: Pattern) => expression.test(name)
    const out = this.#exclude.find(fits)
    if (out !== undefined) return { excluded: true, pattern: out.text }
    const pattern = this.#include.find(fits)?.text ?? null
    return { excluded: pattern === null, pattern }
  }
}

export interface ReplicatePolicy {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

interface Pattern {
  readonly text: string
  readonly expression: RegExp
}

function compile(text: string): Pattern {
  const source = text
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]')
  return { text, expression: new RegExp(`^${source}$`, 'su') }
}
