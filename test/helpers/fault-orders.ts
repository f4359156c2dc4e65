// What the fault injector is told: shared by it, in the processes under test, and by the tests that give the orders.

/** Names the file of the orders. */
export const ordersVariable = 'HB_FAULT_ORDERS'

export interface Order {
  readonly name: string
  /** Of the process, a pattern: app, shipper, slave, helper, or "hb COMMAND". */
  readonly role: string
  /**
   * create, write, sync, truncate, rename (told by its target), remove: of files, create and sync also of directories;
   * send, receive: of messages. Several with | between.
   */
  readonly operation: string
  /** A pattern for the path, or for the name of the message. */
  readonly what: string
  readonly moment: 'before' | 'after'
  /** The how manyth such operation of a process. */
  readonly nth: number
  /**
   * kill: kill -9 of itself; tear: the same behind half of the write; stop: SIGSTOP of itself. These once, by one
   * process. ENOSPC, for what needs room, and EIO: this operation and all after it fail as long as the order stands.
   */
  readonly act: 'kill' | 'tear' | 'stop' | 'ENOSPC' | 'EIO'
  /** Stands only once that other order has been carried out. */
  readonly behind?: string
}

/** Made by whoever carries out the order first. */
export function hitMark(ordersPath: string, name: string): string {
  return `${ordersPath}.hit.${name.replaceAll(/\W/g, '-')}`
}
