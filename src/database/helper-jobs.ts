// What helpers do for a database (long-work.ts): orders that another process can carry out by themselves.
import type { GenerationState } from './generation-state.ts'

/** The record that made the work; also what status calls it. */
export type LongOperation = 'resize-file' | 'clear-file' | 'delete-file'

interface JobSubject {
  /** No two jobs of a database ever have the same. */
  readonly id: string
  readonly account: string
  readonly file: string
  readonly operation: LongOperation
}

/** Build the target out of the source, which does not change. */
export interface BuildJob extends JobSubject {
  readonly kind: 'build'
  readonly source: { readonly path: string; readonly state: GenerationState }
  readonly target: { readonly fileNumber: number; readonly number: number; readonly modulo: number }
}

/** Remove an unused data file, little by little. */
export interface RemoveJob extends JobSubject {
  readonly kind: 'remove'
  readonly path: string
}

export type HelperJob = BuildJob | RemoveJob
