// The port to what a command reads once, from front to back: standard input, a file, or a pipe that has a path.

export interface Input {
  /** Null: unknown, as of a pipe. */
  readonly bytes: number | null
  /** To be read once. Each piece is the reader's own. Throws ERR_INPUT, or ERR_DISK for a file. */
  readonly pieces: AsyncIterable<Uint8Array>
}

export interface Inputs {
  /** What lies at a path. Throws ERR_INPUT when it is nothing that can be read, ERR_DISK when it cannot be opened. */
  open(path: string): Promise<Input>
}
