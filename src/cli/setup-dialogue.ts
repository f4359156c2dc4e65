// hb setup in a terminal (Setup Server): asks for the essentials one by one, then shows all settings, to change
// any of them, until the server is made. Escape goes one step back, Ctrl-C leaves; nothing is written before the
// end.
import path from 'node:path'
import { styleText } from 'node:util'
import { intro, isCancel, log, note, outro, select } from '@clack/prompts'
import { isHotBackupError } from '../errors.ts'
import type { ServerType } from '../config/role.ts'
import { SetupDraft } from '../config/setup-draft.ts'
import type { SetupField } from '../config/setup-fields.ts'
import type { KeyChoice } from '../config/setup.ts'
import { Interrupted, type Context, type Terminal } from './command-line.ts'
import { nextSteps, setupLines } from './setup-text.ts'
import { askText, type Cancelled } from './text-prompt.ts'

export async function setupDialogue(
  context: Context,
  terminal: Terminal,
  directory: string,
): Promise<void> {
  const draft = await SetupDraft.open(context.platform, directory)
  const dialogue = new Dialogue(terminal, draft)
  const end = await context.untilSignal(dialogue.run()).finally(() => dialogue.close())
  const { output } = terminal
  if (end === 'left') {
    outro(draft.exists ? 'Nothing has been changed.' : 'Nothing has been made.', { output })
    return
  }
  const config = await draft.save()
  const lines = draft.exists
    ? [
        `${draft.layout.config} has been changed.`,
        'A server that runs goes on with what it has read: stop and start it.',
      ]
    : setupLines(config, directory)
  log.success(lines.join('\n'), { output })
  note(nextSteps(config, directory, draft.exists).join('\n'), 'Next', { output })
  outro('Done.', { output })
}

type Step = 'next' | 'back'
type Question = SetupField | 'type'

class Dialogue {
  readonly #draft: SetupDraft
  readonly #streams: Terminal
  /** Of the essentials, in the order of the answers. */
  readonly #answered: Question[] = []
  #leaves = false
  readonly #heard: (text: string, key?: { readonly sequence?: string }) => void

  constructor(streams: Terminal, draft: SetupDraft) {
    this.#draft = draft
    this.#streams = streams
    // Clack takes both for the same.
    this.#heard = (_, key) => {
      if (key?.sequence === '\u0003') this.#leaves = true
    }
    streams.input.on('keypress', this.#heard)
  }

  close(): void {
    this.#streams.input.off('keypress', this.#heard)
    this.#streams.output.write('\u001b[?25h') // Clack hides the cursor, and a signal comes at any time.
  }

  /** Throws Interrupted at Ctrl-C. */
  async run(): Promise<'save' | 'left'> {
    const { exists, layout } = this.#draft
    const what = exists ? 'the settings of a server' : 'a new server'
    intro(`hb setup: ${what} in ${layout.directory}`, this.#streams)
    const hint =
      'Enter takes what is shown, Escape goes back, Ctrl-C leaves; nothing is written before the end.'
    log.message(styleText('dim', hint), this.#streams)
    for (;;) {
      if (!exists && (await this.#essentials()) === 'back') return 'left'
      const end = await this.#overview()
      if (end !== 'back') return end
      this.#answered.pop()
    }
  }

  async #essentials(): Promise<Step> {
    for (;;) {
      // What is asked depends on what was answered.
      const fields = this.#draft.fields().filter(({ first }) => first)
      const question = ['type' as const, ...fields].find(each => !this.#answered.includes(each))
      if (question === undefined) return 'next'
      if ((await this.#ask(question)) === 'next') this.#answered.push(question)
      else if (this.#answered.pop() === undefined) return 'back'
    }
  }

  async #overview(): Promise<'save' | 'left' | 'back'> {
    const save: { word: 'save' | 'left'; label: string; hint?: string } = this.#draft.exists
      ? { word: 'save', label: 'Write hb.toml' }
      : { word: 'save', label: 'Make the server' }
    let last: SetupField | 'save' | 'left' = 'save'
    for (;;) {
      const mistake = this.#draft.mistake()
      if (mistake !== null) log.warn(mistake.message, this.#streams)
      const fields = this.#draft.fields()
      const width = Math.max(...fields.map(({ title }) => title.length))
      const chosen: SetupField | 'save' | 'left' | Cancelled = await select<
        SetupField | 'save' | 'left'
      >({
        ...this.#streams,
        message: 'The settings; choose one to change it',
        initialValue: mistake?.field ?? last,
        options: [
          { value: 'save', label: save.label, disabled: mistake !== null },
          ...fields.map(field => ({
            value: field,
            label: `${field.title.padEnd(width)}  ${this.#draft.shown(field)}`,
            hint: field.help,
          })),
          { value: 'left', label: 'Leave, and write nothing' },
        ],
      })
      if (isCancel(chosen)) {
        this.#checkLeaving()
        if (!this.#draft.exists) return 'back'
        if (last === 'left' || !this.#draft.changed) return 'left'
        last = 'left'
        continue
      }
      if (chosen === 'save' || chosen === 'left') {
        return chosen === 'save' && !this.#draft.changed ? 'left' : chosen
      }
      await this.#ask(chosen)
      last = chosen
    }
  }

  async #ask(question: Question): Promise<Step> {
    const answer = await this.#answer(question)
    if (!isCancel(answer)) return 'next'
    this.#checkLeaving()
    return 'back'
  }

  #checkLeaving(): void {
    if (this.#leaves) throw new Interrupted('SIGINT')
  }

  /** Clack's symbol when it was cancelled; else the draft has the answer. */
  async #answer(question: Question): Promise<string | Cancelled> {
    const draft = this.#draft
    if (question === 'type') return this.#askType()
    const { title, help } = question
    const value = draft.shown(question)
    switch (question.kind) {
      case 'secret':
        return this.#askKey(title, help)
      case 'switch':
      case 'choice': {
        const options =
          question.kind === 'choice'
            ? question.choices.map(({ word, help: hint }) => ({ value: word, hint }))
            : [{ value: 'on' }, { value: 'off' }]
        const word = await this.#select(title, help, options, value)
        if (!isCancel(word)) draft.set(question, word)
        return word
      }
      default: {
        const problem = (text: string) => draft.problem(question, text)
        const text = await askText({ title, help, value, problem }, this.#streams)
        if (!isCancel(text)) draft.set(question, text)
        return text
      }
    }
  }

  async #askType(): Promise<string | Cancelled> {
    const options: { value: ServerType; hint: string }[] = [
      { value: 'master', hint: 'applications write to it; it sends every update to its slaves' },
      { value: 'slave', hint: 'it holds what its master holds, and can take over' },
    ]
    const type = await this.#select('Type', 'What the server is.', options, this.#draft.type)
    if (!isCancel(type)) this.#draft.setType(type)
    return type
  }

  async #askKey(title: string, help: string): Promise<string | Cancelled> {
    const choices = this.#draft.keyChoices()
    const options = choices.map(({ kind }) => ({ value: kind, label: keyLabel(kind) }))
    const { kind: present } = this.#draft.key
    const kind = await this.#select(title, help, options, present)
    if (isCancel(kind)) return kind
    const choice = choices.find(each => each.kind === kind)
    if (choice === undefined) return kind
    if (choice.kind !== 'take') {
      await this.#draft.setKey(choice)
      return kind
    }
    const question = {
      title: 'Key file',
      help: 'Path of a copy of the hb.key that "hb setup" has made on the master.',
      value: this.#draft.key.kind === 'take' ? this.#draft.key.file : '',
      problem: (text: string) => (text === '' ? 'expected the path of a file' : null),
      check: (text: string) => this.#keyProblem(text),
    }
    return askText(question, this.#streams)
  }

  async #keyProblem(file: string): Promise<string | null> {
    try {
      await this.#draft.setKey({ kind: 'take', file: path.resolve(file), key: null })
      return null
    } catch (error) {
      if (isHotBackupError(error, 'ERR_KEY')) return error.message
      throw error
    }
  }

  async #select<T extends string>(
    title: string,
    help: string,
    options: { value: T; label?: string; hint?: string }[],
    value: string,
  ): Promise<T | Cancelled> {
    const initialValue = options.find(option => option.value === value)?.value
    const message = `${title}\n${styleText('dim', help)}`
    const shown = options.map(option => ({ label: option.value as string, ...option }))
    const more = initialValue === undefined ? {} : { initialValue }
    const word = await select<string>({ ...this.#streams, message, options: shown, ...more })
    return isCancel(word) ? word : (word as T)
  }
}

function keyLabel(kind: KeyChoice['kind']): string {
  switch (kind) {
    case 'make':
      return 'make a new key, to be given to the slaves'
    case 'own':
      return 'take the hb.key that is in the directory'
    case 'take':
      return "copy the master's key from a file"
    case 'keep':
      return 'keep it as it is'
    case 'none':
      return 'no key: nothing is encrypted, and only addresses of this machine are allowed'
  }
}
