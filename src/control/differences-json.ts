// What a slave knows of its differences, as it goes over a control socket: item-ids are bytes.
import type { Difference, DifferencesPage } from '../wire/messages/differences.ts'
import type { JsonObject } from './frames.ts'

export function differencesToJson({ status, start, rows }: DifferencesPage): JsonObject {
  const pass = status.pass === null ? null : { ...status.pass }
  return {
    status: { ...status, pass },
    start,
    rows: rows.map(row => ({ ...row, id: row.id.toString('base64') })),
  }
}

export function differencesFromJson(value: JsonObject): DifferencesPage {
  const page = value as unknown as Omit<DifferencesPage, 'rows'> & {
    readonly rows: readonly (Omit<Difference, 'id'> & { readonly id: string })[]
  }
  return { ...page, rows: page.rows.map(row => ({ ...row, id: Buffer.from(row.id, 'base64') })) }
}
