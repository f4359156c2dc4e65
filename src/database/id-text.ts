// Item-ids that callers give as text, as bytes: one buffer for all of them, since each is used up at once.
import { itemIdBytesMax } from '../limits.ts'
import { type Bytes } from '../log/record.ts'

/** Ids that come as text become bytes here; a UTF-16 unit takes at most three. */
export const idText = Buffer.alloc(itemIdBytesMax * 3)

/** Bytes of the id, which lies in `idText` when it came as text; 0 when no item can have it. */
export function idLength(id: Bytes): number {
  if (typeof id !== 'string') return id.length <= itemIdBytesMax ? id.length : 0
  const units = id.length
  if (units > itemIdBytesMax) return 0
  // Short ASCII, the usual id, is copied faster here than by a call out of JavaScript.
  let i = 0
  for (; i < units && i < 48; i++) {
    const unit = id.charCodeAt(i)
    if (unit > 0x7f) break
    idText[i] = unit
  }
  if (i === units) return units
  // It would be taken for another id.
  if (!id.isWellFormed()) return 0
  const length = idText.write(id, 'utf8')
  return length <= itemIdBytesMax ? length : 0
}
