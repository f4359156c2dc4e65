// Outputs by node:fs.
import * as fs from 'node:fs/promises'
import path from 'node:path'
import { HotBackupError } from '../errors.ts'
import { diskError } from './disk-error.ts'
import { systemErrorOf } from './disk.ts'
import type { OutputFile, Outputs } from './outputs.ts'

/** It holds items, which are its user's alone. */
const fileMode = 0o600

export const nodeOutputs: Outputs = {
  async create(name) {
    try {
      return new NodeOutputFile(name, await open(name, 'wx'), true)
    } catch (error) {
      if (systemErrorOf(error)?.code !== 'EEXIST') throw error
    }
    const file = await open(name, 'a')
    const found = await file.stat()
    if (!found.isFile() || found.size === 0) return new NodeOutputFile(name, file, false)
    await file.close()
    const hint = 'Name another file, or move this one away.'
    throw new HotBackupError(
      'ERR_EXISTS',
      `${name} is there already`,
      { path: name },
      undefined,
      hint,
    )
  },
}

async function open(name: string, flags: 'wx' | 'a'): Promise<fs.FileHandle> {
  try {
    return await fs.open(name, flags, fileMode)
  } catch (error) {
    throw diskError(error, flags === 'a' ? 'open' : 'create', name)
  }
}

class NodeOutputFile implements OutputFile {
  readonly #name: string
  readonly #file: fs.FileHandle
  readonly #isNew: boolean
  #isEmpty = true

  constructor(name: string, file: fs.FileHandle, isNew: boolean) {
    this.#name = name
    this.#file = file
    this.#isNew = isNew
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#isEmpty = false
    try {
      await this.#file.writeFile(bytes)
    } catch (error) {
      throw diskError(error, 'write', this.#name)
    }
  }

  async close(): Promise<void> {
    try {
      if (!this.#isEmpty && (await this.#file.stat()).isFile()) await this.#sync()
    } catch (error) {
      throw diskError(error, 'sync', this.#name)
    } finally {
      await this.#file.close()
    }
    // Left behind it would do no harm.
    if (this.#isNew && this.#isEmpty) await fs.unlink(this.#name).catch(() => {})
  }

  async #sync(): Promise<void> {
    await this.#file.sync()
    if (!this.#isNew) return
    const directory = await fs.open(path.dirname(this.#name), 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }
}
