// hb run: keeps the parts of a server running, in the foreground or, for "hb start", in the background, until a signal.
import { openLineFile } from '../platform/node-line-file.ts'
import { Alarm } from '../report/alarm.ts'
import { backgroundVariable } from '../control/background.ts'
import { LiveConfig } from '../config/live-config.ts'
import { layoutOf } from '../config/layout.ts'
import { MessagesLog } from '../config/messages-log.ts'
import { Supervisor } from '../control/supervisor.ts'
import { ExitStatus, type Context } from './command-line.ts'
import { watchSignals } from './server-signals.ts'

/** Throws ExitStatus when the server has not ended well. */
export async function runSupervised(context: Context, directory: string): Promise<void> {
  const { platform } = context
  const signals = watchSignals()
  let supervisor: Supervisor | null = null
  // Before the lock is taken, by which others find this process and wake it.
  let config: LiveConfig | null = null
  signals.onWake(() => {
    void readAgain(config)
    supervisor?.wake()
  })
  const layout = layoutOf(directory)
  const live = await LiveConfig.load(platform.disk, layout, 'shipper')
  config = live
  const background = process.env[backgroundVariable] !== undefined
  const messages = background
    ? MessagesLog.toFile(openLineFile, layout.messages)
    : MessagesLog.toPeople(line => context.tell(line))
  const alarm = new Alarm(platform, layout, live.name, () => live.alarm, messages.log)
  supervisor = await Supervisor.start(platform, layout, alarm.say)
  signals.onHangUp(() => {
    messages.release()
    void readAgain(live)
    supervisor?.hangUp()
  })
  void signals.end.then(() => supervisor?.stop())
  const exitCode = await supervisor.ended
  alarm.end()
  messages.release()
  if (exitCode !== 0) throw new ExitStatus(exitCode)
}

/** For its alarms. The parts report what is wrong in hb.toml; then the settings so far stay in force here, too. */
async function readAgain(config: LiveConfig | null): Promise<void> {
  await config?.reload().catch(() => {})
}
