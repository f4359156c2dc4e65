// The port to the owners and permissions of files: a secret that others can read is none. Symbolic links are followed.

export interface FileModes {
  /** True when somebody besides the owner may read or change the file. Throws ERR_DISK when there is none. */
  openToOthers(path: string): boolean
  /** The number of the user who owns it; null when there is nothing, or the system has no users. Throws ERR_DISK. */
  userOf(path: string): number | null
  /** Whether this process may list a directory, and make files in it. */
  mayWorkIn(directory: string): boolean
}
