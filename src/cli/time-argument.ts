// A moment on the command line, as "hb log dump" shows it or as a person types it. What is no such moment is refused:
// Date.parse would take the 31st of February for the 3rd of March.
import { InvalidArgumentError } from 'commander'

/** A moment between two milliseconds lies right behind the first. */
export interface Moment {
  /** Wall-clock milliseconds since 1970, rounded down. */
  readonly ms: number
  readonly between: boolean
}

const form =
  /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?: ?(Z|[+-]\d\d(?::?\d\d)?))?$/i

/**
 * Without a zone it is the time of this machine: where the clock is put back, the first of the two; where it is put
 * forward, there is none.
 */
export function parseMoment(text: string): Moment {
  const found = form.exec(text)
  if (found === null) throw wrong()
  const [, year, month, day, hour, minute, second = '0', fraction = '', zone] = found
  const fields = [year, Number(month) - 1, day, hour, minute, second].map(Number) as Fields
  const local = zone === undefined
  const date = local ? new Date(...fields) : new Date(Date.UTC(...fields))
  if (fieldsOf(date, local).join() !== fields.join()) throw wrong()
  const ms = date.getTime() + Number(fraction.slice(0, 3).padEnd(3, '0')) - offsetMs(zone)
  if (ms <= 0) throw wrong()
  return { ms, between: /[1-9]/.test(fraction.slice(3)) }
}

type Fields = [number, number, number, number, number, number]

function fieldsOf(date: Date, local: boolean): Fields {
  return local
    ? [
        date.getFullYear(),
        date.getMonth(),
        date.getDate(),
        date.getHours(),
        date.getMinutes(),
        date.getSeconds(),
      ]
    : [
        date.getUTCFullYear(),
        date.getUTCMonth(),
        date.getUTCDate(),
        date.getUTCHours(),
        date.getUTCMinutes(),
        date.getUTCSeconds(),
      ]
}

function offsetMs(zone: string | undefined): number {
  if (zone === undefined || zone.toUpperCase() === 'Z') return 0
  const digits = zone.replace(':', '').slice(1).padEnd(4, '0')
  const [hours, minutes] = [Number(digits.slice(0, 2)), Number(digits.slice(2))]
  if (hours > 23 || minutes > 59) throw wrong()
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000
}

function wrong(): InvalidArgumentError {
  return new InvalidArgumentError(
    'A time such as 2026-11-24T13:59:00.123Z is needed, as "hb log dump" shows it.',
  )
}
