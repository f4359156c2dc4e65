// Bugs to be found. Each is a change of the compiled program, made while it is loaded: what is on the disk stays as
// it is. The simulation must find every one of them, or it looks away where it should not.
import { readFileSync } from 'node:fs'

interface Change {
  /** Of the compiled program, below build/src. */
  readonly file: string
  /** Must be there exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Planted {
  readonly name: string
  readonly changes: readonly Change[]
}

/** In a bug that only one block in so many has: which ones, their checksums say. HB_SIM_ONE_IN is another number. */
const oneIn = Number(process.env['HB_SIM_ONE_IN'] ?? 1000)

export const planted: readonly Planted[] = [
  {
    name: 'log not synced',
    changes: [
      {
        file: 'log/appender.js',
        find: '    syncSync() {\n        const started = this.#clock.monotonic();\n        this.#opened.syncSync();',
        replace: '    syncSync() {\n        const started = this.#clock.monotonic();',
      },
    ],
  },
  {
    name: 'directory of the log not synced',
    changes: [
      {
        file: 'log/appender.js',
        find: '        await this.#disk.syncDirectory(dirname(path));\n',
        replace: '',
      },
    ],
  },
  {
    name: 'log/durable before the sync',
    changes: [
      {
        file: 'log/flusher.js',
        find: '                this.#appender.syncSync();\n                this.#synced();',
        replace: '                this.#synced();\n                this.#appender.syncSync();',
      },
    ],
  },
  {
    name: 'failed sync of the log ignored',
    changes: [
      {
        file: 'log/appender.js',
        find: '        this.#opened.syncSync();\n',
        replace:
          '        try {\n            this.#opened.syncSync();\n        }\n        catch { }\n',
      },
    ],
  },
  {
    name: 'recovered log not made durable',
    changes: [
      {
        file: 'log/recovery.js',
        find: '            await harden(disk, directory, found);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'promise ignored',
    changes: [
      {
        file: 'log/recovery.js',
        find: 'const promised = search && (await laterPromise(file, header, chain.offset, expected));',
        replace: 'const promised = search && false;',
      },
    ],
  },
  {
    name: 'ack before store',
    changes: [
      {
        file: 'slave/receiver-session.js',
        find: 'durable: log.durablePosition,',
        replace: 'durable: log.position,',
      },
    ],
  },
  {
    name: 'ack of what is not applied',
    changes: [
      {
        file: 'slave/receiver-session.js',
        find: 'appliedTxn: appliedTxn(),',
        replace: 'appliedTxn: log.lastTxn,',
      },
    ],
  },
  {
    name: 'retention before ack',
    changes: [
      {
        file: 'updates/retention.js',
        find: '            needed = Math.min(needed, await neededAfter(disk, this.#acksDirectory, name));\n',
        replace: '',
      },
    ],
  },
  {
    name: 'stamp before log',
    changes: [
      {
        file: 'database/checkpoint.js',
        find: '            await Promise.race([durable, this.#stopping]);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'journal not synced',
    changes: [
      {
        file: 'database/journal.js',
        find: '        await this.#file.write(page, 0, pageBytes, 0);\n        await this.#file.sync();',
        replace: '        await this.#file.write(page, 0, pageBytes, 0);',
      },
    ],
  },
  {
    name: 'directory of the journal not synced',
    changes: [
      {
        file: 'database/checkpoint.js',
        find: '        await this.#withRoom(() => journal.publish(disk));\n        await disk.syncDirectory(dataFiles.directory);',
        replace: '        await this.#withRoom(() => journal.publish(disk));',
      },
    ],
  },
  {
    name: 'frames not synced',
    changes: [
      {
        file: 'database/in-place.js',
        find: '        await this.#file.sync();\n',
        replace: '',
      },
    ],
  },
  {
    name: 'journal left out',
    changes: [
      {
        file: 'database/checkpoint.js',
        find: 'await writeInPlace(disk, dataFiles.directory, journal, this);',
        replace:
          'await disk.rename(path, `${path}.new`);\n                await writeInPlace(disk, dataFiles.directory, journal, this);\n                await disk.rename(`${path}.new`, path);',
      },
    ],
  },
  {
    name: 'small file not synced',
    changes: [
      {
        file: 'platform/atomic-file.js',
        find: '            await file.sync();\n',
        replace: '',
      },
    ],
  },
  {
    name: 'rename not synced',
    changes: [
      {
        file: 'platform/atomic-file.js',
        find: '    await disk.syncDirectory(dirname(path));\n',
        replace: '',
      },
    ],
  },
  {
    name: 'transaction split',
    changes: [
      {
        file: 'updates/updates.js',
        find: '                encoder.writeItem(file.number, id, value);\n            if (encoder.end -',
        replace:
          '                encoder.writeItem(file.number, id, value);\n            encoder.endTransaction();\n            if (encoder.end -',
      },
    ],
  },
  {
    name: 'hold drained without its deletions',
    changes: [
      {
        file: 'database/hold.js',
        find: '            const count = this.#visit(gone, this.drainedTo, end, scratch, removed, false) +\n                this.#visit(held,',
        replace: '            const count = this.#visit(held,',
      },
    ],
  },
  {
    name: 'hold drained late',
    changes: [
      {
        file: 'database/hold.js',
        find: '            this.drainedTo = end;\n',
        replace: '            this.drainedTo = hashEnd;\n',
      },
    ],
  },
  {
    name: 'hold read before its time',
    changes: [
      {
        file: 'database/hold.js',
        find: '        if (hash < this.drainedTo) {\n            this.#counted(base, () => groups.write(base, bytes, idStart, idEnd, valueEnd));',
        replace:
          '        if (hash <= this.drainedTo + 2 ** 31) {\n            this.#counted(base, () => groups.write(base, bytes, idStart, idEnd, valueEnd));',
      },
    ],
  },
  {
    name: 'reads before durable',
    changes: [
      {
        file: 'updates/updates.js',
        find: 'return this.#log.durableTxn >= file.lastTxn;',
        replace: 'return file.lastTxn >= 0;',
      },
    ],
  },
  {
    name: 'fence ignored',
    changes: [
      {
        file: 'updates/write-gate.js',
        find: '        const error = this.refusal;\n',
        replace: '        const error = null;\n',
      },
    ],
  },
  {
    name: 'log not cut at the fork',
    changes: [
      {
        file: 'failover/rejoin.js',
        find: '        await cutBack(disk, layout.log, place);',
        replace: '        await disk.list(layout.log);',
      },
    ],
  },
  {
    name: 'missing updates not saved',
    changes: [
      {
        file: 'failover/rejoin.js',
        find: 'await saveMissing(disk, layout, fork)',
        replace: 'null',
      },
    ],
  },
  {
    name: 'a promise before its sync, in one block of N',
    changes: [
      {
        file: 'log/flusher.js',
        find: '            this.#unsettled.push(block);\n',
        replace: `            {\n                if (block.mark.chain % ${oneIn} === 0)\n                    block.settling.resolve();\n                this.#unsettled.push(block);\n            }\n`,
      },
    ],
  },
  {
    name: 'acks kept when an old master comes back',
    changes: [
      {
        file: 'failover/rejoin.js',
        find: '    await removeAcks(disk, layout.slaves);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'chain not checked by a master when a slave calls back',
    changes: [
      {
        file: 'log/reader.js',
        find: '    if (from.chain === chain)\n        return;\n',
        replace: '    return;\n',
      },
    ],
  },
  {
    name: 'chain not checked by either side when a slave calls back',
    changes: [
      {
        file: 'log/reader.js',
        find: '    if (from.chain === chain)\n        return;\n',
        replace: '    return;\n',
      },
      {
        file: 'slave/receiver-intake.js',
        find: '        this.#chain = log.chainAtEnd();\n',
        replace: '        this.#chain = log.chainAtEnd();\n        this.#chain.newcomer = true;\n',
      },
      {
        file: 'log/chain.js',
        find: '        if (block.chain !== this.#crc)\n',
        replace: '        if (block.chain !== this.#crc && !this.newcomer)\n',
      },
    ],
  },
  {
    name: 'level applied taken for durable',
    changes: [
      {
        file: 'ship/ack-file.js',
        find: 'durable: ack.durableTxn, applied: ack.appliedTxn }[level]',
        replace: 'durable: ack.durableTxn, applied: ack.durableTxn }[level]',
      },
    ],
  },
  {
    name: 'CRC of received blocks ignored',
    changes: [
      {
        file: 'slave/receiver-intake.js',
        find: '        this.#chain = log.chainAtEnd();\n',
        replace: '        this.#chain = log.chainAtEnd();\n        this.#chain.trusting = true;\n',
      },
      {
        file: 'log/chain.js',
        find: '        if (blockCrc(',
        replace: '        if (!this.trusting && blockCrc(',
      },
    ],
  },
  {
    name: 'lease ignored when acknowledging',
    changes: [
      {
        file: 'updates/commits.js',
        find: 'const fault = this.lapsed?.() ?? null;',
        replace: 'const fault = null;',
      },
    ],
  },
]

/** Throws when the bug does not fit the program: nothing could be found then. */
export function checkFits(bug: Planted): void {
  for (const { file } of bug.changes) {
    plant(bug, file, readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8'))
  }
}

/** The text of a file with the bug in it; null when it is in another one. Throws when it does not fit any more. */
export function plant({ name, changes }: Planted, file: string, source: string): string | null {
  const [change, more] = changes.filter(change => change.file === file)
  if (change === undefined) return null
  if (more !== undefined) throw new Error(`${name}: two changes of ${file}`)
  const parts = source.split(change.find)
  if (parts.length !== 2) {
    throw new Error(`${name}: "${change.find}" is there ${parts.length - 1} times, not once`)
  }
  return parts.join(change.replace)
}
