// The text of hb.toml as "hb setup" writes it: every key with its default and what it is for, to be edited by
// hand; config-edit.ts changes single values of it. It holds what the server needs as a master and as a slave, since
// failovers change its role and not this file.

/** What "hb setup" decides; the rest of hb.toml are defaults. */
export interface InitialSettings {
  readonly name: string
  /** HOST:PORT; null for the default. */
  readonly listen: string | null
  /** The server has hb.key. */
  readonly key: boolean
  readonly slaves: readonly { readonly name: string; readonly address: string }[]
  readonly applyUpdates: boolean
  readonly logSlaveUpdates: boolean
  readonly autoCreate: boolean
}

export function initialConfigText(settings: InitialSettings): string {
  const { name, slaves } = settings
  const tables = slaves.map(slave => tableText(slave.name, slave.address)).join('\n')
  return [
    head(name),
    linkText(settings),
    slaveText(settings),
    commonText,
    commitText,
    queueText,
    helpersText,
    verifyText,
    failoverText,
    replicateText,
    alarmText,
    serveText,
    slavesHead + (slaves.length === 0 ? slavesExample : tables),
  ].join('\n')
}

function head(name: string): string {
  return `# The configuration of a hotbackup server; hb.toml(5) describes every key.
# It is read when the server starts. Lines that begin with # show the defaults.
# Whether the server is the master or a slave is not written here: "hb status" shows it, and "hb promote", "hb switch"
# and "hb rejoin" change it. This file holds the settings for both.

name = "${name}"
`
}

function linkText({ listen, key }: InitialSettings): string {
  return `[link]
# The key that the servers of one database share, in this directory or by its path. Without a key nothing is
# encrypted, and only addresses of this machine (127.0.0.1, ::1) are allowed.
${key ? '' : '# '}key = "hb.key"
# Where this server listens while it is a slave: HOST:PORT, an IPv6 address in brackets, * for all addresses, IPv4 and
# IPv6. Default: port 2000 on all addresses; without a key, on 127.0.0.1 only.
${listen === null ? '# listen = "*:2000"' : `listen = "${listen}"`}
# What may be on its way to a slave before it acknowledges.
# window_size = "8MiB"
# So many bytes a second are read and sent for a copy of the database; "0" for as many as can be.
# seed_rate = "0"
# Each side tells this often that it lives, and hangs up after a silence of timeout.
# heartbeat = "5s"
# timeout = "30s"
`
}

function slaveText(settings: InitialSettings): string {
  return `[slave]
# Used while this server is a slave.
# Whether a new slave applies what the master sends, or only stores it. "hb apply on" and "hb apply off" switch it
# later, and what they say goes before this.
apply_updates = ${settings.applyUpdates}
# Hand on what the master sends to the slaves below.
log_slave_updates = ${settings.logSlaveUpdates}
# Create an account or file that an update needs and that is not there.
auto_create = ${settings.autoCreate}
# Take a copy of the master's database, over the link, when this slave is new and the master's log no longer begins at
# the beginning, or when this slave has been away for too long. Without it "hb seed" on the master orders a copy.
# auto_seed = false
# Apply updates so much later than they were made, so that a fatal mistake can be kept out: "30m", "12h".
# apply_delay = "0"
# A transaction that cannot be applied though nothing is missing is tried so often before it goes to lost-found.
# apply_tries = 3
`
}

const commitText = `[commit]
# When an update of a master is done: "local" when it is durable here; "received", "durable" or "applied" when so many slaves
# have got so far as well.
# level = "local"
# slaves = 1
# When they do not answer for this long: "wait" for them, or "continue" without them, and say so.
# timeout = "10s"
# on_timeout = "wait"
`

const helpersText = `[helpers]
# Files whose data take at least this much of the disk are resized and removed by helpers, processes of their own,
# while updates go on; smaller ones at once.
# size = "32MiB"
# A helper that is silent for this long is started again; so many failures in a row are an alarm.
# patience = "30s"
# tries = 5
`

const queueText = `[queue]
# How large the log may get for slaves that have not stored it yet; "0" for no limit but the disk. At the limit
# updates wait ("pace"), fail ("refuse"), or the slave that is furthest behind is dropped and needs a new copy ("drop").
# limit = "0"
# on_limit = "pace"
`

const verifyText = `[verify]
# A master writes into the log, once in this time and little by little, what all of its files hold, and its slaves
# compare: a difference is an alarm. "off": only "hb verify" does so.
# interval = "1d"
`

const failoverText = `[failover]
# A master that has heard from no slave for this long takes no updates until one answers, since it may have been
# promoted. "0": it goes on.
# lease = "0"
# A slave that was promoted keeps its log from then on, until the old master has come back, or the log has this size.
# keep_size = "10GiB"
`

const replicateText = `[replicate]
# The files that a master sends to its slaves: ACCOUNT/FILE, with * and ?. Those that no include pattern fits, or that
# an exclude pattern fits, stay on the master alone.
# include = ["*/*"]
# exclude = []
`

const alarmText = `[alarm]
# Who is told when something is wrong: a command for the shell, which gets the messages of level "error", or "warn" as
# well, on its standard input: "mail -s hotbackup operators@example.org". While it runs, further messages gather for
# the next run; after timeout it is killed.
# command = ""
# level = "error"
# A slave that has not followed its master for this long is an error; so is, on a slave, a master that was not heard.
# after = "1m"
# timeout = "30s"
`

const serveText = `[serve]
# Clients of the Redis protocol find the server at run/resp.sock. "127.0.0.1:6379" lets programs of this machine reach
# it over TCP as well, under any user: there are no passwords. Default: no port.
# listen = "127.0.0.1:6379"
# Clients at once; the silence after which one is disconnected ("0": none); the most that replies to one may take.
# max_clients = 1000
# idle_timeout = "0"
# output_size = "256MiB"
# Whether FLUSHALL may delete the keys of all databases.
# flushall = false
# The files whose items are the strings of databases 0 to 15. Default: file n of account REDIS.
# databases = { 0 = "SALES/CUSTOMERS" }
`

const commonText = `[log]
# When an update is done: "commit" after an fsync, "interval" after at most fsync_interval without one, "os"
# whenever the operating system writes it. Only "commit" survives a power failure whole.
# fsync = "commit"
# fsync_interval = "10ms"
# A segment file of the log is closed at this size, 64 KiB to 1 GiB.
# segment_size = "16MiB"
# What no slave and no checkpoint needs any more is kept this long, as history ("hb history") and for restored saves,
# while the log has no more than this size. When the disk is full, the oldest of it goes before updates are refused.
# keep_time = "24h"
# keep_size = "4GiB"

[database]
# Memory for the database: a size, or a share of the machine's memory.
# cache_size = "25%"
`

const slavesHead = `# The slaves, one table each. While this server is the master, or a slave that hands on updates (log_slave_updates),
# everything is sent to all of them, except to its own master.
`

function tableText(name: string, address: string): string {
  return `[[slaves]]
name = "${name}"
address = "${address}"
`
}

const slavesExample = `# [[slaves]]
# name = "south"
# address = "192.0.2.7:2000"
`
