// What befalls a world while its applications work: power failures, killed and frozen processes, a network and disks
// that do what they can do. Which of it, and how often, is the seed's.
import type { Node } from './nodes.ts'
import { orders } from './operator.ts'
import type { Story } from './story.ts'
import type { DiskCall } from './world/disk-port.ts'
import type { Loss } from './world/disk.ts'
import type { SimProcess } from './world/process.ts'
import type { SeededRandom } from './world/random.ts'

const kinds = [
  'power failure',
  'kill',
  'freeze',
  'cut',
  'closed way',
  'flipped bits on the way',
  'slow disk',
  'full disk',
  'disk error',
  'clock jump',
  'wiped disk',
  'disk set back',
  ...orders,
] as const
type Kind = (typeof kinds)[number]

export class Nemesis {
  readonly #story: Story
  readonly #random: SeededRandom
  readonly #kinds: Kind[]
  readonly #pauseMs: number
  #over = false
  /** Machines that get a new disk. */
  readonly #wiped: Promise<void>[] = []

  constructor(story: Story) {
    this.#story = story
    this.#random = story.random
    this.#kinds = kinds.filter(() => this.#random.chance(0.4))
    this.#pauseMs = this.#random.pick([150, 400, 1000])
  }

  begin(): void {
    this.#story.world.note(`to befall them: ${this.#kinds.join(', ') || 'nothing'}`)
    this.#next()
  }

  /** Everything is whole again, and stays so. */
  async end(): Promise<void> {
    this.#over = true
    const { world, nodes, oracle } = this.#story
    oracle.over(null)
    world.network.heal()
    for (const { machine } of nodes) {
      machine.doom = null
      machine.broken = null
      machine.orders.length = 0
      machine.slowness = 1
      machine.disk.room = Infinity
      for (const process of machine.processes) machine.goOn(process)
      machine.boots()
    }
    await Promise.all(this.#wiped)
  }

  #next(): void {
    const { scheduler } = this.#story.world
    scheduler.after(this.#random.between(10, 2 * this.#pauseMs), null, () => {
      if (this.#over || this.#kinds.length === 0) return
      this.#befall(this.#random.pick(this.#kinds), this.#random.pick(this.#story.nodes))
      this.#next()
    })
  }

  #later(ms: number, run: () => void): void {
    this.#story.world.scheduler.after(ms, null, () => {
      if (!this.#over) run()
    })
  }

  #befall(kind: Kind, node: Node): void {
    const { machine, world } = node
    const random = this.#random
    if (machine.down) return
    switch (kind) {
      case 'power failure': {
        const loss = random.weighted<Loss>({ all: 4, some: 5, none: 1 })
        world.fault(kind, `${node.name} soon`)
        this.#doom(node, () => {
          this.#story.powerFails(node, loss)
          this.#later(random.between(50, 1500), () => machine.boots())
        })
        return
      }
      case 'kill': {
        const process = this.#victim(node)
        if (process === null) return
        world.fault(kind, `${node.name} ${process.name} ${process.pid} soon`)
        this.#doom(node, () => machine.kill(process))
        return
      }
      case 'freeze': {
        const process = this.#victim(node)
        if (process === null) return
        world.fault(kind, '')
        machine.stop(process)
        this.#later(random.pick([100, 1000, 5000]) * random.fraction(), () => machine.goOn(process))
        return
      }
      case 'cut': {
        const cut = world.network.cut(random.pick(['both', 'both', 'caller', 'called']))
        if (cut !== null) world.fault(kind, cut)
        return
      }
      case 'closed way': {
        const other = random.pick(this.#story.nodes.filter(known => known !== node))
        const ways = [`${node.name}>${other.name}`, `${other.name}>${node.name}`]
        const closed = random.chance(0.5) ? ways : ways.slice(1)
        world.fault(kind, closed.join(' '))
        for (const way of closed) world.network.closeWay(way)
        this.#later(random.pick([200, 2000, 4000]) * random.fraction(), () => {
          world.note(`open again: ${closed.join(' ')}`)
          for (const way of closed) world.network.openWay(way)
        })
        return
      }
      case 'flipped bits on the way':
        world.fault(kind, '')
        world.network.flips = random.int(1, 6)
        return
      case 'slow disk': {
        machine.slowness = random.pick([10, 100])
        world.fault(kind, `${node.name} ${machine.slowness} times`)
        this.#later(random.between(50, 600), () => {
          machine.slowness = 1
        })
        return
      }
      case 'full disk': {
        machine.disk.room = random.pick([0, 1000, 50_000])
        world.fault(kind, `${node.name} has room for ${machine.disk.room}`)
        this.#later(random.between(50, 1500), () => {
          machine.disk.room = Infinity
          world.note(`${node.name} has room again`)
        })
        return
      }
      case 'disk error': {
        const call = random.pick<DiskCall>([
          'write',
          'sync',
          'sync',
          'syncDirectory',
          'rename',
          'open',
          'openToWrite',
        ])
        const path = random.pick(['/log/', '/database/', '/srv'])
        world.fault(kind, `${node.name} ${call} ${path} soon`)
        machine.orders.push({ call, path, code: 'EIO', after: random.int(0, 15) })
        return
      }
      case 'clock jump': {
        const ms = random.pick([-1, 1]) * random.pick([500, 60_000, 3_600_000])
        world.fault(kind, `${node.name} ${ms} ms`)
        machine.wallMs += ms
        return
      }
      case 'wiped disk':
        if (random.chance(0.2)) this.#wipe(node)
        return
      case 'disk set back':
        if (random.chance(0.3)) this.#setBack(node)
        return
      default:
        this.#story.operator.give(kind, node)
    }
  }

  /** At one of the next calls to the disk, or now. */
  #doom({ machine }: Node, strike: () => void): void {
    const random = this.#random
    if (random.chance(0.2)) {
      strike()
      return
    }
    const places: readonly (readonly [string, readonly DiskCall[] | null])[] = [
      ['', null],
      ['/log/', null],
      ['/log/', ['sync', 'rename', 'syncDirectory']],
      ['/database/', null],
      ['/database/', ['sync', 'rename', 'syncDirectory', 'remove']],
    ]
    const [path, calls] = random.pick(places)
    machine.doom = { after: random.int(0, calls === null ? 40 : 5), path, calls, strike }
    // Where nothing happens on the disk it comes all the same.
    this.#later(500, () => {
      if (machine.doom?.strike !== strike) return
      machine.doom = null
      strike()
    })
  }

  #victim({ machine }: Node): SimProcess | null {
    const processes = [...machine.processes].filter(process => process.name !== 'hb-status')
    return processes.length === 0 ? null : this.#random.pick(processes)
  }

  /** A slave's machine comes back with an empty directory, as if it were new. */
  #wipe(node: Node): void {
    const story = this.#story
    if (!this.#mayLose(node)) return
    node.world.fault('wiped disk', node.name)
    this.#loses(node)
    this.#wiped.push(node.comesBackEmpty(story.nodes, this.#random.between(50, 500)))
  }

  /** A slave's machine comes back with what it had some time before, as from a snapshot. */
  #setBack(node: Node): void {
    const { machine } = node
    if (!this.#mayLose(node)) return
    const back = machine.disk.remember()
    this.#later(this.#random.between(100, 1500), () => {
      if (machine.down || !this.#mayLose(node)) return
      node.world.fault('disk set back', node.name)
      this.#loses(node)
      node.comesBackAsBefore(back)
    })
  }

  /** What has become a master, or may, is not the one to try this with. */
  #mayLose(node: Node): boolean {
    const story = this.#story
    const promotion = node.machine.disk.file(node.layout.promotion) !== null
    if (story.master !== story.nodes[0] || !story.upstream.has(node)) return false
    return !node.attended && !promotion
  }

  #loses(node: Node): void {
    this.#story.oracle.forgive(node)
    for (const other of this.#story.nodes) other.copiesExpected = true
  }
}
