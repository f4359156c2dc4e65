// Sizes and times as people write them: "16MiB", "25%", "250ms", "24h". Parsed strictly, printed back.
import { KiB, MiB } from '../limits.ts'

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB,
  MiB,
  GiB: 1024 * MiB,
  TiB: 1024 * 1024 * MiB,
}

const timeUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Bytes; null when the text is no size. */
export function parseSize(text: string): number | null {
  return parseWithUnit(text, sizeUnits)
}

/** Milliseconds; null when the text is no time. */
export function parseTime(text: string): number | null {
  return text === '0' ? 0 : parseWithUnit(text, timeUnits)
}

/** A share of something from "1%" to "100%", as 0.01 to 1; null when the text is no such share. */
export function parseShare(text: string): number | null {
  const match = /^(\d{1,3})%$/.exec(text)
  const percent = Number(match?.[1] ?? 0)
  return percent >= 1 && percent <= 100 ? percent / 100 : null
}

function parseWithUnit(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text)
  if (match === null) return null
  const unit = units[match[2] ?? '']
  if (unit === undefined) return null
  const value = Math.round(Number(match[1]) * unit)
  return Number.isSafeInteger(value) ? value : null
}

/** Bytes for people: "1.5 MiB". */
export function sizeText(bytes: number): string {
  let value = bytes
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${unit === 'B' ? value : value.toFixed(1)} ${unit}`
    value /= 1024
  }
  return `${value.toFixed(1)} TiB`
}

/** A duration for people: "0.25 s", "3 min 20 s", "5 h 2 min", "12 d 3 h". */
export function durationText(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 10) return `${Number(seconds.toFixed(2))} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  return hours < 48
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`
}
