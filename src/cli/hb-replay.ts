#!/usr/bin/env node
// hb-replay(1): applies by hand what a slave has not applied.
import { Context, execute, processStreams } from './command-line.ts'
import { replayProgram } from './replay-program.ts'

const context = new Context(processStreams())
context.endOnSignals()
process.exit(await execute(replayProgram(context), context))
