// Change notices by chokidar. Its `change` event is dropped, not deferred, when it comes within 50 ms of the
// one before for the same path; its `raw` event is what the system said, each time. Both are heard.
import type { FSWatcher } from 'chokidar'
import { type Watcher } from './watch.ts'

export const nodeWatcher: Watcher = {
  watch(path, changed) {
    let closed = false
    // Loaded when something is watched: commands watch nothing, and it would cost them a few milliseconds.
    const opening = import('chokidar').then(({ watch }) => {
      return closed ? null : heard(watch(path, { ignoreInitial: true }), path, changed)
    })
    return {
      close: async () => {
        closed = true
        await (await opening)?.close()
      },
    }
  },
}

function heard(watcher: FSWatcher, path: string, changed: () => void): FSWatcher {
  watcher.on('all', (_event, changedPath) => {
    if (changedPath === path) changed()
  })
  // A raw notice may name a neighbour (while the file does not exist, its directory is watched): looking
  // once too often costs less than deciding here whose it was.
  watcher.on('raw', () => changed())
  // Notices are hints, and the code that waits also looks by itself: a watch that fails costs time, not data.
  watcher.on('error', () => {})
  return watcher
}
