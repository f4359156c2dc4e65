// A master's resident server: has the master open for all programs, so that verification, checkpoints, helpers,
// retention and alarms work when no program does.
import type { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { LiveConfig } from '../config/live-config.ts'
import type { Follower } from '../report/follow-watch.ts'
import { layoutOf } from '../config/layout.ts'
import { Master, openAs, type MasterEvent } from './master.ts'
import type { Log, MessageLevel } from '../config/messages-log.ts'
import { serverPurpose } from '../control/owner.ts'

/** What the operator gets as an alarm, and what stands in the messages only. */
const levels: Readonly<Record<MasterEvent['type'], MessageLevel>> = {
  alone: 'error',
  waiting: 'error',
  'in-step': 'info',
  // The shipper raises the alarms of the queue: it works when no server does, too.
  'queue-alarm': 'info',
  'queue-full': 'info',
  'queue-open': 'info',
  'slave-dropped': 'error',
  'helper-failed': 'error',
  'verify-failed': 'error',
  'log-damaged': 'error',
  'log-repaired': 'warn',
  'group-damaged': 'error',
  'group-repaired': 'info',
  'disk-full': 'error',
  'disk-room': 'info',
  'history-removed': 'warn',
}

export class MasterServer {
  readonly master: Master
  /** What of hb.toml is in force. */
  readonly config: LiveConfig

  private constructor(master: Master, config: LiveConfig) {
    this.master = master
    this.config = config
  }

  /**
   * Opens the master in `directory` and listens to commands and programs. `lost` is called when the process must end:
   * its lock is lost, or its disk has failed (ERR_STOPPED). Errors: those of Master.open.
   */
  static async start(
    platform: Platform,
    directory: string,
    say: Log,
    lost: (error: HotBackupError) => void,
  ): Promise<MasterServer> {
    const config = await LiveConfig.load(platform.disk, layoutOf(directory), 'master')
    const onEvent = ({ type, message }: MasterEvent) => say(levels[type], message)
    const opening = { purpose: serverPurpose, config, lost }
    return new MasterServer(await Master[openAs](directory, { platform, onEvent }, opening), config)
  }

  /** The shipper looks after the slaves. */
  following(): Follower[] {
    return []
  }

  stop(): Promise<void> {
    return this.master.close()
  }
}
