// Bytes written as text that a person can read, type and send anywhere: hexadecimal, base64, or marks, the way
// MultiValue systems show the marks in a record. All of them give the same bytes back.
//
//   byte                                   in marks
//   0xFF 0xFE 0xFD 0xFC                    _ ^ ] \      (segment, attribute, value and subvalue mark)
//   0x5F 0x5E 0x5D 0x5C (_ ^ ] \), 0x10    the same, behind a DLE (0x10)
//   any other                              the same

export type ByteForm = 'marks' | 'hex' | 'base64'

const dle = 0x10
/** 0xFC to 0xFF are shown as "\" to "_". */
const markMin = 0xfc
const signMin = 0x5c
const signMax = 0x5f

export function encodeForm(bytes: Buffer, form: ByteForm): Buffer {
  if (form === 'marks') return marksOf(bytes)
  return Buffer.from(bytes.toString(form), 'latin1')
}

/** Null when the text is not of that form. Hexadecimal and base64 may have white space between their digits. */
export function decodeForm(text: Buffer, form: ByteForm): Buffer | null {
  if (form === 'marks') return fromMarks(text)
  const digits = text.toString('latin1').replaceAll(/[ \t\r\n]+/g, '')
  const bytes = Buffer.from(digits, form)
  // Node ignores what is no digit.
  const same = form === 'hex' ? digits.toLowerCase() : digits
  return bytes.toString(form) === same ? bytes : null
}

function isEscaped(byte: number): boolean {
  return byte === dle || (byte >= signMin && byte <= signMax)
}

function marksOf(bytes: Buffer): Buffer {
  let escapes = 0
  for (const byte of bytes) if (isEscaped(byte)) escapes++
  const text = Buffer.allocUnsafe(bytes.length + escapes)
  let at = 0
  for (const byte of bytes) {
    if (isEscaped(byte)) text[at++] = dle
    text[at++] = byte >= markMin ? byte - markMin + signMin : byte
  }
  return text
}

function fromMarks(text: Buffer): Buffer | null {
  const bytes = Buffer.allocUnsafe(text.length)
  let length = 0
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] ?? 0
    if (byte !== dle) {
      bytes[length++] = byte >= signMin && byte <= signMax ? byte - signMin + markMin : byte
      continue
    }
    const escaped = text[++at]
    if (escaped === undefined || !isEscaped(escaped)) return null
    bytes[length++] = escaped
  }
  return bytes.subarray(0, length)
}
