/** What the library says with the names of its options, said with the flags of the command line. */
import { AprError, printable } from '../model/errors.js'

/** Changes the message of an error of the library: an option's name, in backticks, becomes what to type. */
export function inFlags(error: unknown, { compat }: { compat?: 'apr' }): unknown {
  if (!(error instanceof AprError)) return error
  const words: Record<string, string> = {
    select: `--skip ${pattern(error.tensor)}`,
    "kept: 'same'": compat ? '--kept same, without --compat' : '--kept same',
    overwrite: '--force',
    'spaceCheck: false': '--no-space-check',
    strict: '--strict',
    to: '--to',
    pre: '--pre',
    config: '--config',
    outtype: '--outtype',
    splitMaxBytes: '--split-max-size',
    allowRequantize: '--allow-requantize',
    types: '--type',
    targetBytes: '--target-size',
    bitsPerWeight: '--target-bpw',
    pure: '--pure',
    imatrix: '--imatrix',
    importance: '--importance',
    recipe: '--scheme',
    report: '--report',
  }
  const what = error.what.replace(/`([^`]*)`/g, (quoted, option: string) => words[option] ?? quoted)
  // The same object: it knows where it was thrown.
  error.message = error.message.replace(error.what, () => what)
  return error
}

/** A tensor's name as a pattern, where it needs no quotes. */
function pattern(name = ''): string {
  return /^\w[\w./-]*$/.test(name) ? printable(name) : 'PATTERN'
}
