// Checks of what the methods of the library are given. The wrong type is a mistake of the program: TypeError. A wrong
// value of the right type has a code of the catalogue. JavaScript gets here without the compiler.
import { types } from 'node:util'
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax, moduloMax } from '../limits.ts'
import type { Bytes } from '../log/record.ts'

/** A lone surrogate has no UTF-8: it would be stored as another character, and different texts as one. */
export function checkText(text: Bytes): void {
  if (typeof text !== 'string' || text.isWellFormed()) return
  throw new HotBackupError('ERR_ITEM_TEXT', 'the text has a surrogate by itself')
}

export function checkItemId(id: Bytes): void {
  checkBytes('an item-id', id)
  checkText(id)
  const length = id.length
  if (length === 0) throw new HotBackupError('ERR_ITEM_ID', 'the item-id is empty')
  // Text can only be longer in UTF-8 than in units: the encoder measures that.
  if (length > itemIdBytesMax) {
    throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${length} bytes`)
  }
}

export function checkItem(value: Bytes): void {
  checkBytes('an item', value)
  checkText(value)
  if (value.length > itemBytesMax) {
    throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${value.length} bytes`)
  }
}

/** `what`: as "an item-id". */
export function checkBytes(what: string, value: unknown): asserts value is Bytes {
  if (typeof value === 'string' || types.isUint8Array(value)) return
  throw new TypeError(`${what} is a string or a Uint8Array, not ${shown(value)}`)
}

export function checkModulo(modulo: number): void {
  checkType('a modulo', 'number', modulo)
  if (!Number.isInteger(modulo) || modulo < 1 || modulo > moduloMax) {
    throw new HotBackupError('ERR_MODULO', `${modulo} is no modulo`)
  }
}

/** `what`: as "the name of a file". */
export function checkType(
  what: string,
  type: 'string' | 'number' | 'boolean' | 'function',
  value: unknown,
): void {
  if (typeof value === type) return
  throw new TypeError(`${what} is a ${type}, not ${shown(value)}`)
}

/** Options may be left out, but are nothing else than an object. */
export function checkOptions(options: unknown): void {
  if (options === undefined || (typeof options === 'object' && options !== null)) return
  throw new TypeError(`options are an object, not ${shown(options)}`)
}

function shown(value: unknown): string {
  if (value === null || typeof value === 'undefined') return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== '' ? `a value of type ${name}` : 'another object'
}
