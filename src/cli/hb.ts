#!/usr/bin/env node
// hb(1): the command for everything that a person or a script does with a server.
import { Context, execute, processStreams } from './command-line.ts'
import { hbProgram } from './program.ts'

const context = new Context(processStreams())
context.endOnSignals()
const program = await hbProgram(context, process.argv.slice(2))
process.exit(await execute(program, context))
