// Change notices by chokidar. Its `change` event is dropped, not deferred, when it comes within 50 ms of the
// one before for the same path; its `raw` event is what the system said, each time. Both are heard.
import { watch } from 'chokidar'
import { type Watcher } from './watch.ts'

export const nodeWatcher: Watcher = {
  watch(path, changed) {
    const watcher = watch(path, { ignoreInitial: true, persistent: true })
    watcher.on('all', (_event, changedPath) => {
      if (changedPath === path) changed()
    })
    // A raw notice may name a neighbour (while the file does not exist, its directory is watched): looking
    // once too often costs less than deciding here whose it was.
    watcher.on('raw', () => changed())
    // Notices are hints and whoever waits also looks by himself: a watch that fails costs time, not data.
    watcher.on('error', () => {})
    return { close: () => watcher.close() }
  },
}
