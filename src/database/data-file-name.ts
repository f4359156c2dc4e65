// How the data files of the generations are called.

/** File number and generation, 8 hexadecimal digits each. */
export function dataFileName(fileNumber: number, generation: number): string {
  return `${hex8(fileNumber)}.${hex8(generation)}`
}

export function isDataFileName(name: string): boolean {
  return /^[0-9a-f]{8}\.[0-9a-f]{8}$/.test(name)
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0')
}
