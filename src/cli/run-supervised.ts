// hb run: keeps the parts of a server running, in the foreground or, for "hb start", in the background, until a signal.
import { openLineFile } from '../platform/node-line-file.ts'
import { Alarm } from '../report/alarm.ts'
import { backgroundVariable } from '../control/background.ts'
import { loadConfig } from '../config/config.ts'
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
  signals.onWake(() => supervisor?.wake())
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  const background = process.env[backgroundVariable] !== undefined
  const messages = background
    ? MessagesLog.toFile(openLineFile, layout.messages)
    : MessagesLog.toPeople(line => context.tell(line))
  const alarm = new Alarm(platform, layout, config.name, () => config.alarm, messages.log)
  supervisor = await Supervisor.start(platform, layout, alarm.say)
  signals.onHangUp(() => {
    messages.release()
    supervisor?.hangUp()
  })
  void signals.end.then(() => supervisor?.stop())
  const exitCode = await supervisor.ended
  alarm.end()
  messages.release()
  if (exitCode !== 0) throw new ExitStatus(exitCode)
}
