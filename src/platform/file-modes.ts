// The port to the permissions of files: a secret that others can read is none.

export interface FileModes {
  /** True when somebody besides the owner may read or change the file. Throws ERR_DISK when there is none. */
  openToOthers(path: string): boolean
}
