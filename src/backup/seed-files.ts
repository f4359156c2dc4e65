// What lies in seed/: on a slave the copy that comes, on a master a directory for each slave with the copy that goes.
//
//   manifest.json, database/, log/   the copy
//   image-id                         on a master: the copy is whole, and which one it is
//   state.json                       on a slave: how much of it has come
//   COMPLETE                         on a slave: all of it, and it has been checked
//   INSTALLING                       on a slave: it is being put in place, and with which log
import path from 'node:path'
import { isImageFile } from '../config/own-files.ts'
import { isServerName } from '../wire/server-name.ts'
import { manifestName } from './manifest.ts'

export const completeName = 'COMPLETE'
export const idName = 'image-id'
export const installingName = 'INSTALLING'
export const stateName = 'state.json'

const single = [manifestName, completeName, idName, installingName, stateName]

/** Whether it is the server's own, by its path from seed/, or from the directory of one slave in it. */
export function isSeedFile(name: string): boolean {
  const [slave = '', ...rest] = name.split(path.sep)
  return isOfCopy(name) || (isServerName(slave) && isOfCopy(rest.join(path.sep)))
}

function isOfCopy(name: string): boolean {
  return isImageFile(name) || single.includes(name.replace(/\.tmp$/, ''))
}
