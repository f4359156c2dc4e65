// The port to randomness: identities and jitter. Seeded in tests, the system's generator otherwise.

export interface Random {
  bytes(length: number): Uint8Array
}

/** A number from 0 (included) to 1 (excluded). */
export function fraction(random: Random): number {
  const bytes = random.bytes(4)
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true) / 2 ** 32
}
