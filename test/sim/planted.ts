// Bugs to be found. Each is a change of the compiled program, made while it is loaded: what is on the disk stays as
// it is. The simulation must find every one of them, or it looks away where it should not.

export interface Planted {
  readonly name: string
  /** Of the compiled program, below build/src. */
  readonly file: string
  /** Must be there exactly once. */
  readonly find: string
  readonly replace: string
}

export const planted: readonly Planted[] = [
  {
    name: 'log not synced',
    file: 'log/appender.js',
    find: '    syncSync() {\n        const started = this.#clock.monotonic();\n        this.#opened.syncSync();',
    replace: '    syncSync() {\n        const started = this.#clock.monotonic();',
  },
  {
    name: 'directory of the log not synced',
    file: 'log/appender.js',
    find: '        await this.#disk.syncDirectory(dirname(path));\n',
    replace: '',
  },
  {
    name: 'log/durable before the sync',
    file: 'log/flusher.js',
    find: '                this.#appender.syncSync();\n                this.#synced();',
    replace: '                this.#synced();\n                this.#appender.syncSync();',
  },
  {
    name: 'failed sync of the log ignored',
    file: 'log/appender.js',
    find: '        this.#opened.syncSync();\n',
    replace: '        try {\n            this.#opened.syncSync();\n        }\n        catch { }\n',
  },
  {
    name: 'recovered log not made durable',
    file: 'log/recovery.js',
    find: '            await harden(disk, directory, found);\n',
    replace: '',
  },
  {
    name: 'promise ignored',
    file: 'log/recovery.js',
    find: 'const promised = search && (await laterPromise(file, header, chain.offset, expected));',
    replace: 'const promised = search && false;',
  },
  {
    name: 'ack before store',
    file: 'slave/receiver-session.js',
    find: 'durable: log.durablePosition,',
    replace: 'durable: log.position,',
  },
  {
    name: 'ack of what is not applied',
    file: 'slave/receiver-session.js',
    find: 'appliedTxn: appliedTxn(),',
    replace: 'appliedTxn: log.lastTxn,',
  },
  {
    name: 'retention before ack',
    file: 'updates/retention.js',
    find: '            needed = Math.min(needed, await neededAfter(disk, this.#acksDirectory, name));\n',
    replace: '',
  },
  {
    name: 'stamp before log',
    file: 'database/checkpoint.js',
    find: '            await Promise.race([durable, this.#stopping]);\n',
    replace: '',
  },
  {
    name: 'journal not synced',
    file: 'database/journal.js',
    find: '        await this.#file.write(page, 0, pageBytes, 0);\n        await this.#file.sync();',
    replace: '        await this.#file.write(page, 0, pageBytes, 0);',
  },
  {
    name: 'directory of the journal not synced',
    file: 'database/checkpoint.js',
    find: '        await this.#withRoom(() => journal.publish(disk));\n        await disk.syncDirectory(dataFiles.directory);',
    replace: '        await this.#withRoom(() => journal.publish(disk));',
  },
  {
    name: 'frames not synced',
    file: 'database/in-place.js',
    find: '        await this.#file.sync();\n',
    replace: '',
  },
  {
    name: 'journal left out',
    file: 'database/checkpoint.js',
    find: 'await writeInPlace(disk, dataFiles.directory, journal, this);',
    replace:
      'await disk.rename(path, `${path}.new`);\n                await writeInPlace(disk, dataFiles.directory, journal, this);\n                await disk.rename(`${path}.new`, path);',
  },
  {
    name: 'small file not synced',
    file: 'platform/atomic-file.js',
    find: '            await file.sync();\n',
    replace: '',
  },
  {
    name: 'rename not synced',
    file: 'platform/atomic-file.js',
    find: '    await disk.syncDirectory(dirname(path));\n',
    replace: '',
  },
  {
    name: 'transaction split',
    file: 'updates/updates.js',
    find: '                encoder.writeItem(file.number, id, value);\n            if (encoder.end -',
    replace:
      '                encoder.writeItem(file.number, id, value);\n            encoder.endTransaction();\n            if (encoder.end -',
  },
  {
    name: 'hold drained without its deletions',
    file: 'database/hold.js',
    find: '            const count = this.#visit(gone, this.drainedTo, end, scratch, removed, false) +\n                this.#visit(held,',
    replace: '            const count = this.#visit(held,',
  },
  {
    name: 'hold drained late',
    file: 'database/hold.js',
    find: '            this.drainedTo = end;\n',
    replace: '            this.drainedTo = hashEnd;\n',
  },
  {
    name: 'hold read before its time',
    file: 'database/hold.js',
    find: '        if (hash < this.drainedTo) {\n            this.#counted(base, () => groups.write(base, bytes, idStart, idEnd, valueEnd));',
    replace:
      '        if (hash <= this.drainedTo + 2 ** 31) {\n            this.#counted(base, () => groups.write(base, bytes, idStart, idEnd, valueEnd));',
  },
  {
    name: 'reads before durable',
    file: 'updates/updates.js',
    find: 'return this.#log.durableTxn >= file.lastTxn;',
    replace: 'return file.lastTxn >= 0;',
  },
  {
    name: 'fence ignored',
    file: 'updates/write-gate.js',
    find: '        const error = this.refusal;\n',
    replace: '        const error = null;\n',
  },
  {
    name: 'log not cut at the fork',
    file: 'failover/rejoin.js',
    find: '        await cutBack(disk, layout.log, place);',
    replace: '        await disk.list(layout.log);',
  },
  {
    name: 'missing updates not saved',
    file: 'failover/rejoin.js',
    find: 'await saveMissing(disk, layout, fork)',
    replace: 'null',
  },
]

/** The text of the program with the bug in it. Throws when it does not fit any more. */
export function plant({ name, find, replace }: Planted, source: string): string {
  const parts = source.split(find)
  if (parts.length !== 2) {
    throw new Error(`${name}: "${find}" is there ${parts.length - 1} times, not once`)
  }
  return parts.join(replace)
}
