// Servers for tests of the Redis protocol: a master in this process behind a socket, and a real redis-server beside it.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import type { Test } from 'tap'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { openRespServer, type RespServer } from '../../src/resp/server.ts'
import type { Settings } from '../../src/resp/settings.ts'
import type { Store } from '../../src/resp/store.ts'
import { Master } from '../../src/server/master.ts'
import { RespClient } from './resp-client.ts'
import { ok, temporaryDirectory } from './servers.ts'

export interface RespMaster {
  readonly directory: string
  readonly socketPath: string
  readonly master: Master
  readonly server: RespServer
  /** A client that is closed at the end of the test. */
  client(): Promise<RespClient>
}

/** `change`: of the text of its hb.toml. */
export async function respMaster(
  t: Test,
  settings: Partial<Settings> = {},
  change: (toml: string) => string = toml => toml,
): Promise<RespMaster> {
  const directory = path.join(temporaryDirectory(t), 'alpha')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha')
  const configPath = path.join(directory, 'hb.toml')
  writeFileSync(configPath, change(readFileSync(configPath, 'utf8')))
  const master = await Master.open(directory)
  const socketPath = path.join(directory, 'run', 'resp.sock')
  const server = await openDoor(t, 'alpha', directory, master.store, settings)
  const clients: RespClient[] = []
  t.teardown(async () => {
    for (const client of clients) client.close()
    await server.close()
    await master.close()
  })
  const client = async () => {
    const opened = await RespClient.open(socketPath)
    clients.push(opened)
    return opened
  }
  return { directory, socketPath, master, server, client }
}

/** Serves the store at run/resp.sock in the directory. */
export function openDoor(
  t: Test,
  name: string,
  directory: string,
  store: Store,
  settings: Partial<Settings> = {},
): Promise<RespServer> {
  return openRespServer({
    platform: nodePlatform,
    store,
    settings: { flushAll: true, ...settings },
    identity: {
      name,
      version: '0',
      directory,
      configPath: path.join(directory, 'hb.toml'),
      pid: process.pid,
      port: 0,
      socketPath: path.join(directory, 'run', 'resp.sock'),
      system: 'test',
      executable: process.execPath,
      usage: () => ({ rssBytes: 1, heapBytes: 1, userSeconds: 1, systemSeconds: 1 }),
    },
    fault: error => t.error(error as Error),
  })
}

/** Why there is no redis-server 7 to compare with; false when there is one. */
export function redisMissing(): string | false {
  const { stdout, error } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  if (error !== undefined) return 'there is no redis-server here (Debian: redis-server)'
  return / v=7\./.test(stdout) ? false : `redis-server is another version: ${stdout.trim()}`
}

/** Starts a redis-server without any persistence; returns the path of its socket. */
export async function startRedis(t: Test, ...options: readonly string[]): Promise<string> {
  const directory = temporaryDirectory(t)
  const socketPath = path.join(directory, 'redis.sock')
  const args = ['--port', '0', '--unixsocket', socketPath, '--dir', directory, '--save', '']
  const child = spawn('redis-server', [...args, ...options], { stdio: 'ignore' })
  const ended = new Promise(resolve => child.on('close', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  // The socket is there a moment before redis-server listens at it.
  while (!existsSync(socketPath) || !(await answers(socketPath))) {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  return socketPath
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(socketPath)
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
