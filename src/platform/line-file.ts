// The port to a file that lines are appended to for people, and that others may move or empty meanwhile. It is not
// durable; what must be goes through the disk port. Failures are HotBackupErrors as there.

export interface LineFile {
  size(): number
  /** False when the file was moved or removed: its path leads to another one by now, or to none. */
  isInPlace(): boolean
  /** False when the last line lacks its end. */
  isWhole(): boolean
  /** Writes at the end of the file, wherever that is now. */
  append(text: string): void
  /** Renames the file, over what has that name. */
  moveTo(path: string): void
  close(): void
}

/** Makes the file when there is none. */
export type OpenLineFile = (path: string) => LineFile
