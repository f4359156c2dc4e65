// A disk that goes on reading behind what it cannot read, for whoever checks every byte and has others to ask: where
// the device answers with an error there are bytes that no CRC fits.
import { isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'

/** A sector, the least that a device loses: whatever can be read alone can be read here. */
const pieceBytes = 512
/** Not zero, which would look like a place where nothing was written. */
const filler = 0xee

/** Hears of bytes that were not given, up to an offset. */
type Missed = (path: string, to: number) => void

export function readingAround(disk: Disk, missed: Missed = () => {}): Disk {
  return {
    open: async (path, mode) => around(await disk.open(path, mode), missed),
    openSync: (path, mode) => around(disk.openSync(path, mode), missed),
    exists: path => disk.exists(path),
    access: path => disk.access(path),
    realPath: path => disk.realPath(path),
    list: path => disk.list(path),
    makeDirectory: path => disk.makeDirectory(path),
    rename: (from, to) => disk.rename(from, to),
    remove: path => disk.remove(path),
    syncDirectory: path => disk.syncDirectory(path),
    freeBytes: path => disk.freeBytes(path),
  }
}

function around(file: DiskFile, missed: Missed): DiskFile {
  return {
    path: file.path,
    size: () => file.size(),
    access: () => file.access(),
    read: (...place) => readAround(file, missed, ...place),
    readSync: (...place) => file.readSync(...place),
    write: (...place) => file.write(...place),
    writeSync: (...place) => file.writeSync(...place),
    sync: () => file.sync(),
    syncSync: () => file.syncSync(),
    truncate: length => file.truncate(length),
    close: () => file.close(),
    closeSync: () => file.closeSync(),
  }
}

async function readAround(
  file: DiskFile,
  missed: Missed,
  buffer: Uint8Array,
  start: number,
  length: number,
  offset: number,
): Promise<number> {
  try {
    return await file.read(buffer, start, length, offset)
  } catch (error) {
    if (!isUnreadable(error)) throw error
  }
  const end = Math.min(length, file.size() - offset)
  for (let done = 0; done < end;) {
    const at = offset + done
    const wanted = Math.min(pieceBytes - (at % pieceBytes), end - done)
    try {
      await file.read(buffer, start + done, wanted, at)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      buffer.fill(filler, start + done, start + done + wanted)
      missed(file.path, at + wanted)
    }
    done += wanted
  }
  return Math.max(0, end)
}
