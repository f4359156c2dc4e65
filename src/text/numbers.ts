// Numbers for people, in all that people read: 1,234,567. JSON and other formats for machines have plain ones.

/** By hand: loading the rules of a language takes 10 ms. */
export function count(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** "1 item", "1,234 items". */
export function counted(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`
}
