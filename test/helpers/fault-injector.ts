// Loaded into the processes under test with "node --import" (faults.ts sets NODE_OPTIONS): looks at every operation
// of the ports to disk and network, and at the one that an order names the process kills or stops itself, or the
// operation fails. The code under test knows nothing of it. Orders lie in a file that is read again when it changes.
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { HotBackupError } from '../../src/errors.ts'
import type { Access, Disk, DiskFile } from '../../src/platform/disk.ts'
import type { Connection, Network } from '../../src/platform/network.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodeNetwork } from '../../src/platform/node-network.ts'
import { frameHeaderBytes, MessageType } from '../../src/wire/protocol.ts'
import { hitMark, ordersVariable, type Order } from './fault-orders.ts'

const ordersPath = process.env[ordersVariable] ?? ''
const roles: Readonly<Record<string, string>> = {
  'server-process': 'server',
  'hb-shipper': 'shipper',
  'hb-slave': 'slave',
  'helper-process': 'helper',
  'writer-process': 'app',
}
const script = path.basename(process.argv[1] ?? '', '.js')
const role = script === 'hb' ? `hb ${process.argv[2]}` : (roles[script] ?? script)

let ordersVersion = ''
let orders: Order[] = []
const counts = new Map<string, number>()

function currentOrders(): readonly Order[] {
  try {
    const { mtimeNs, size } = statSync(ordersPath, { bigint: true })
    const version = `${mtimeNs} ${size}`
    if (version === ordersVersion) return orders
    const read = JSON.parse(readFileSync(ordersPath, 'utf8')) as Order[]
    ordersVersion = version
    orders = read.filter(order => new RegExp(`^(${order.role})$`).test(role))
    counts.clear()
  } catch {
    orders = [] // None yet, or one that is being replaced.
  }
  return orders
}

type Moment = 'before' | 'after'

/** The order whose turn has come with this operation: one that tears a write, or one that does not. */
function met(
  moment: Moment,
  operation: string,
  what: string,
  grows: boolean,
  tears = false,
): Order | null {
  for (const order of currentOrders()) {
    if ((order.act === 'tear') !== tears) continue
    if (order.moment !== moment || !order.operation.split('|').includes(operation)) continue
    if (!new RegExp(order.what).test(what)) continue
    if (order.act === 'ENOSPC' && !grows) continue
    if (order.behind !== undefined && !existsSync(hitMark(ordersPath, order.behind))) continue
    const count = (counts.get(order.name) ?? 0) + 1
    counts.set(order.name, count)
    if (count < order.nth) continue
    if (isFirst(order) || order.act === 'ENOSPC' || order.act === 'EIO') return order
  }
  return null
}

/** Whoever makes the mark acts: an order that ends a process is carried out once, whoever comes later. */
function isFirst({ name }: Order): boolean {
  try {
    closeSync(openSync(hitMark(ordersPath, name), 'wx'))
  } catch {
    return false
  }
  appendFileSync(`${ordersPath}.hits`, `${JSON.stringify({ name, pid: process.pid })}\n`)
  return true
}

function die(): never {
  process.kill(process.pid, 'SIGKILL')
  for (;;);
}

function at(moment: Moment, operation: string, what: string, grows = true): void {
  const order = met(moment, operation, what, grows)
  if (order === null) return
  if (order.act === 'stop') {
    process.kill(process.pid, 'SIGSTOP')
    return
  }
  if (order.act === 'kill') die()
  const full = order.act === 'ENOSPC'
  const cause = Object.assign(new Error(`${order.act}, by order`), {
    code: order.act,
    syscall: operation,
  })
  const text = `cannot ${operation} ${what}: ${cause.message}`
  throw new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', text, { path: what }, cause)
}

class WatchedFile implements DiskFile {
  readonly #file: DiskFile

  constructor(file: DiskFile) {
    this.#file = file
  }

  get path(): string {
    return this.#file.path
  }
  size(): number {
    return this.#file.size()
  }
  access(): Access {
    return this.#file.access()
  }
  read(buffer: Uint8Array, start: number, length: number, offset: number): Promise<number> {
    return this.#file.read(buffer, start, length, offset)
  }
  readSync(buffer: Uint8Array, start: number, length: number, offset: number): number {
    return this.#file.readSync(buffer, start, length, offset)
  }

  async write(buffer: Uint8Array, start: number, length: number, offset: number): Promise<void> {
    this.#beforeWrite(buffer, start, length, offset)
    await this.#file.write(buffer, start, length, offset)
    at('after', 'write', this.path)
  }

  writeSync(buffer: Uint8Array, start: number, length: number, offset: number): void {
    this.#beforeWrite(buffer, start, length, offset)
    this.#file.writeSync(buffer, start, length, offset)
    at('after', 'write', this.path)
  }

  /** Half of a torn write reaches the file. */
  #beforeWrite(buffer: Uint8Array, start: number, length: number, offset: number): void {
    if (met('before', 'write', this.path, true, true) !== null) {
      this.#file.writeSync(buffer, start, Math.floor(length / 2), offset)
      die()
    }
    // What lies in the database may have holes.
    const grows = this.path.includes('/database/') || offset + length > this.#file.size()
    at('before', 'write', this.path, grows)
  }

  async sync(): Promise<void> {
    at('before', 'sync', this.path)
    await this.#file.sync()
    at('after', 'sync', this.path)
  }

  syncSync(): void {
    at('before', 'sync', this.path)
    this.#file.syncSync()
    at('after', 'sync', this.path)
  }

  async truncate(length: number): Promise<void> {
    at('before', 'truncate', this.path, false)
    await this.#file.truncate(length)
    at('after', 'truncate', this.path, false)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
  closeSync(): void {
    this.#file.closeSync()
  }
}

function watchDisk(disk: Disk): Disk {
  const around = async <T>(operation: string, what: string, grows: boolean, work: Promise<T>) => {
    const done = await work
    at('after', operation, what, grows)
    return done
  }
  return {
    ...disk,
    async open(file, mode) {
      if (mode === 'create') at('before', 'create', file)
      const opened = new WatchedFile(await disk.open(file, mode))
      if (mode === 'create') at('after', 'create', file)
      return opened
    },
    openSync(file, mode) {
      if (mode === 'create') at('before', 'create', file)
      const opened = new WatchedFile(disk.openSync(file, mode))
      if (mode === 'create') at('after', 'create', file)
      return opened
    },
    async makeDirectory(directory) {
      if (!(await disk.exists(directory))) at('before', 'create', directory)
      await around('create', directory, true, disk.makeDirectory(directory))
    },
    async rename(from, to) {
      at('before', 'rename', to, false)
      await around('rename', to, false, disk.rename(from, to))
    },
    async remove(file) {
      at('before', 'remove', file, false)
      await around('remove', file, false, disk.remove(file))
    },
    async syncDirectory(directory) {
      at('before', 'sync', directory)
      await around('sync', directory, true, disk.syncDirectory(directory))
    },
  }
}

const namesOfTypes = new Map(
  Object.entries(MessageType).map(([name, type]) => [type as number, name]),
)

/** Tells which messages begin in each piece of a stream. */
class Frames {
  #header = Buffer.alloc(0)
  #skip = 0

  begunIn(piece: Uint8Array): string[] {
    const names: string[] = []
    let rest = Buffer.from(piece)
    while (rest.length > 0) {
      const skipped = Math.min(this.#skip, rest.length)
      this.#skip -= skipped
      rest = rest.subarray(skipped)
      const wanted = rest.subarray(0, frameHeaderBytes - this.#header.length)
      this.#header = Buffer.concat([this.#header, wanted])
      rest = rest.subarray(wanted.length)
      if (this.#header.length < frameHeaderBytes) break
      names.push(namesOfTypes.get(this.#header.readUInt8(4)) ?? '?')
      this.#skip = this.#header.readUInt32LE(8)
      this.#header = Buffer.alloc(0)
    }
    return names
  }
}

function watchConnection(connection: Connection): Connection {
  const [sent, received] = [new Frames(), new Frames()]
  return {
    get remoteAddress() {
      return connection.remoteAddress
    },
    get pendingBytes() {
      return connection.pendingBytes
    },
    listen(events) {
      connection.listen({
        data(bytes) {
          const names = received.begunIn(bytes)
          for (const name of names) at('before', 'receive', name)
          events.data(bytes)
          for (const name of names) at('after', 'receive', name)
        },
        drained: () => events.drained(),
        closed: error => events.closed(error),
      })
    },
    write(bytes) {
      const names = sent.begunIn(bytes)
      for (const name of names) at('before', 'send', name)
      const written = connection.write(bytes)
      for (const name of names) at('after', 'send', name)
      return written
    },
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    end: () => connection.end(),
    destroy: error => connection.destroy(error),
  }
}

function watchNetwork(network: Network): Network {
  return {
    connect: async (...args) => watchConnection(await network.connect(...args)),
    listen: (address, key, accept, options) =>
      network.listen(address, key, connection => accept(watchConnection(connection)), options),
    listenPlain: (...args) => network.listenPlain(...args),
  }
}

if (ordersPath !== '') {
  Object.assign(nodeDisk, watchDisk({ ...nodeDisk }))
  Object.assign(nodeNetwork, watchNetwork({ ...nodeNetwork }))
}
