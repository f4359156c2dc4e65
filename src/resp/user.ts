// Who a client is, and what it may do.

export interface User {
  readonly name: string
  /** It may use commands that concern the whole server. */
  readonly admin: boolean
  mayRead(account: string): boolean
  mayWrite(account: string): boolean
}

export interface Users {
  /** Null when there is no such user, or it has another password. */
  authenticate(name: string, password: Buffer): Promise<User | null>
}

/** Whoever reaches the server where nobody has to log in. */
export const everybody: User = {
  name: 'default',
  admin: true,
  mayRead: () => true,
  mayWrite: () => true,
}
