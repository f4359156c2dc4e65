// "npm run floors": src/ is a house with floors, and imports go down only. Prints the circles of imports and the imports
// that lead up or across, counting `import type` and `import()`; fails when there are any.
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { parseAst } from 'rolldown/parseAst'

/**
 * The folders and files of src/, lowest floor first: what stands on a floor may import what stands below it. Rooms of
 * one floor do not know each other. docs/ARCHITECTURE.md draws the same list, and says what each room is for.
 */
export const floors = [
  ['errors.ts', 'limits.ts', 'programs.ts'],
  ['platform'],
  ['text'],
  ['log'],
  ['wire'],
  ['database', 'ship'],
  ['slave', 'helpers'],
  ['config'],
  ['control'],
  ['updates'],
  ['data', 'resp'],
  ['backup'],
  ['replay'],
  ['repair'],
  ['report'],
  ['failover'],
  ['server'],
  ['client'],
  ['cli', 'index.ts'],
]

const source = path.resolve('src')
const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map(room => [room, floor])))
const roomOf = file => file.split('/')[0]

/** Every file of src/ with the files of src/ that it imports. */
function readImports() {
  const names = readdirSync(source, { recursive: true, encoding: 'utf8' })
  const files = names.filter(name => name.endsWith('.ts')).sort()
  const importsOf = file => {
    const targets = new Set()
    const { body } = parseAst(readFileSync(path.join(source, file), 'utf8'), { lang: 'ts' })
    visit(body, node => {
      const from = /^(Import|Export)|^TSImportType$/.test(node.type ?? '') ? node.source : null
      if (typeof from?.value !== 'string' || !from.value.startsWith('.')) return
      targets.add(path.join(path.dirname(file), from.value))
    })
    return [...targets]
  }
  return new Map(files.map(file => [file, importsOf(file)]))
}

function visit(node, see) {
  if (Array.isArray(node)) for (const child of node) visit(child, see)
  else if (typeof node === 'object' && node !== null) {
    see(node)
    for (const child of Object.values(node)) visit(child, see)
  }
}

/** Sets of files each of which leads to all others of its set: Tarjan's strongly connected components. */
function circlesOf(imports) {
  const [order, lowest, stack, circles] = [new Map(), new Map(), [], []]
  const enter = file => {
    order.set(file, order.size)
    lowest.set(file, order.get(file))
    stack.push(file)
    for (const target of imports.get(file) ?? []) {
      if (!order.has(target)) enter(target)
      if (stack.includes(target)) lowest.set(file, Math.min(lowest.get(file), lowest.get(target)))
    }
    if (lowest.get(file) !== order.get(file)) return
    const circle = stack.splice(stack.indexOf(file))
    if (circle.length > 1) circles.push(circle.sort((a, b) => (a < b ? -1 : 1)))
  }
  for (const file of imports.keys()) if (!order.has(file)) enter(file)
  return circles
}

function upwardOf(imports) {
  const pairs = [...imports].flatMap(([file, targets]) => targets.map(target => [file, target]))
  return pairs.filter(([file, target]) => {
    const [from, to] = [roomOf(file), roomOf(target)]
    return from !== to && !(floorOf.get(to) < floorOf.get(from))
  })
}

const imports = readImports()
const homeless = [...new Set([...imports.keys()].map(roomOf))].filter(room => !floorOf.has(room))
const circles = circlesOf(imports)
const upward = upwardOf(imports)
for (const room of homeless) console.log(`on no floor: src/${room}`)
for (const circle of circles) console.log(`circle of ${circle.length}: ${circle.join(' ')}`)
for (const [file, target] of upward) console.log(`upward: ${file} imports ${target}`)
console.log(`${imports.size} files, ${circles.length} circles, ${upward.length} upward imports`)
if (circles.length + upward.length + homeless.length > 0) process.exitCode = 1
