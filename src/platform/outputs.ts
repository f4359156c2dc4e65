// The port to a file that a command makes for its user, from front to back.

export interface OutputFile {
  /** Throws ERR_DISK, ERR_DISK_FULL. */
  write(bytes: Uint8Array): Promise<void>
  /** What was written is durable when this resolves. A new file to which nothing was written is removed. */
  close(): Promise<void>
}

export interface Outputs {
  /**
   * A new file, or one that is empty, or a device or pipe. A file with something in it is never written over:
   * ERR_EXISTS. Throws ERR_DISK where none can be made.
   */
  create(path: string): Promise<OutputFile>
}
