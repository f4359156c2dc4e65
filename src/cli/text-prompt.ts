// A line of text in the terminal, with what is wrong about it shown while it is typed.
import type { Readable, Writable } from 'node:stream'
import { styleText } from 'node:util'
import { TextPrompt, wrapTextWithPrefix } from '@clack/core'
import { isCancel, S_BAR, S_BAR_END, symbol, type CANCEL_SYMBOL } from '@clack/prompts'

/** Escape or Ctrl-C. */
export type Cancelled = typeof CANCEL_SYMBOL

export interface TextQuestion {
  readonly title: string
  readonly help: string
  /** What stands there to be edited. */
  readonly value: string
  readonly problem: (text: string) => string | null
  /** Asked when the text is given, beside `problem`. */
  readonly check?: (text: string) => Promise<string | null>
}

export async function askText(
  { title, help, value, problem, check }: TextQuestion,
  streams: { readonly input: Readable; readonly output: Writable },
): Promise<string | Cancelled> {
  const clean = (text: string | undefined) => (text ?? '').trim()
  const answer = await new TextPrompt({
    ...streams,
    initialUserInput: value,
    validate: async text => {
      const input = clean(text)
      return problem(input) ?? (await check?.(input)) ?? undefined
    },
    render() {
      const head = `${styleText('gray', S_BAR)}\n${symbol(this.state)}  ${title}\n`
      const input = clean(this.userInput)
      if (this.state === 'submit' || this.state === 'cancel') {
        const style = this.state === 'submit' ? 'dim' : (['strikethrough', 'dim'] as const)
        return `${head}${styleText('gray', S_BAR)}  ${styleText(style as 'dim', input)}`
      }
      const wrong = this.state === 'error' ? this.error : problem(input)
      const colour = wrong === null ? 'cyan' : 'yellow'
      const bar = styleText(colour, S_BAR)
      const below = wrong === null ? '' : `  ${styleText('yellow', wrong)}`
      const wrapped = wrapTextWithPrefix(streams.output, styleText('dim', help), `${bar}  `)
      return `${head}${wrapped}\n${bar}  ${this.userInputWithCursor}\n${styleText(colour, S_BAR_END)}${below}\n`
    },
  }).prompt()
  return isCancel(answer) ? answer : clean(answer)
}
