// Checks of what the methods of the library are given.
import { HotBackupError } from '../../errors.ts'
import { itemBytesMax, itemIdBytesMax, moduloMax } from '../../limits.ts'
import type { Bytes } from '../../log/record.ts'

export function checkItemId(id: Bytes): void {
  const length = id.length
  if (length === 0) throw new HotBackupError('ERR_ITEM_ID', 'the item-id is empty')
  // Text can only be longer in UTF-8 than in units: the encoder measures that.
  if (length > itemIdBytesMax) {
    throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${length} bytes`)
  }
}

export function checkItem(value: Bytes): void {
  if (value.length > itemBytesMax) {
    throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${value.length} bytes`)
  }
}

export function checkModulo(modulo: number): void {
  if (!Number.isInteger(modulo) || modulo < 1 || modulo > moduloMax) {
    throw new HotBackupError('ERR_MODULO', `${modulo} is no modulo`)
  }
}
