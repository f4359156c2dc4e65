// How commands wake a supervisor.
import t from 'tap'
import { wake } from '../../src/control/reach.ts'

t.test(
  'a signal goes to a supervisor whose pid means something here, and to no other process',
  t => {
    const signals: string[] = []
    const signal = (pid: number, name: string) => signals.push(`${name} to ${pid}`) > 0
    const identity = {
      pid: 7,
      startTicks: 1,
      bootId: 'boot',
      pidNamespace: 'container',
      machineId: '',
      host: 'here',
    }
    wake({ processes: { signal } }, { identity, elsewhere: true })
    t.strictSame(signals, [])
    wake({ processes: { signal } }, { identity, elsewhere: false })
    t.strictSame(signals, ['SIGUSR2 to 7'])
    t.end()
  },
)
