#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { EXIT_CODES, quantizeCommand, type QuantizeFlags } from './cli/quantize-command.js'
import type { ReadFlags } from './cli/read-commands.js'
import { VERSION } from './version.js'
import { reportFailure, UsageError } from './cli/output.js'

const EXIT_FAILURE = 1
const EXIT_USAGE = 2

async function main(): Promise<void> {
  const program = buildProgram()
  try {
    await program.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
    } else if (error instanceof UsageError) {
      process.stderr.write(`error: ${error.message}\n`)
      process.exitCode = EXIT_USAGE
    } else {
      reportFailure(error, process.argv.includes('--json'), process.argv.includes('--debug'))
      process.exitCode ??= EXIT_FAILURE
    }
  }
}

function buildProgram(): Command {
  const program = new Command('apr-stream')
    .description('Quantize .apr model files of any size to Q4_K in constant memory.')
    .version(VERSION, '-V, --version')
    .showHelpAfterError('(run with --help to see all options)')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })

  program
    .command('quantize')
    .description('Quantize a model to Q4_K. The output appears whole or not at all.')
    .argument('<file>', 'the .apr model to quantize', path)
    .option('-o, --output <file>', 'where the result goes (default: FILE with .q4k.apr)', path)
    .addOption(new Option('-s, --scheme <scheme>', 'block format').choices(['q4k']).default('q4k'))
    .addOption(
      new Option(
        '--fit <fit>',
        "how scales are found: search gives llama.cpp's bytes, minmax those of `apr quantize` (faster, worse)",
      ).choices(['search', 'minmax']),
    )
    .addOption(
      new Option(
        '--kept <dtype>',
        'float tensors that are not quantized: auto keeps F32 and F16 and widens others to F32, same keeps all, f32 widens all',
      ).choices(['auto', 'same', 'f32']),
    )
    .addOption(
      new Option(
        '--compat <tool>',
        'write what another tool writes: apr is `apr quantize --scheme q4k` (its rule, minmax, kept tensors as F32)',
      ).choices(['apr']),
    )
    .addOption(
      new Option(
        '--mode <mode>',
        'stream takes constant memory, memory reads the whole file first, auto decides by size',
      )
        .choices(['auto', 'stream', 'memory'])
        .default('auto'),
    )
    .addOption(
      new Option('--threads <count>', 'worker threads at the most (default: the cores that are there)').argParser(
        wholeNumber,
      ),
    )
    .option('--only <pattern>', 'quantize only tensors whose name matches this glob; may be given again', gather)
    .option('--skip <pattern>', 'do not quantize tensors whose name matches this glob; may be given again', gather)
    .option('--strict', 'take warnings for errors: nothing is written where the plan has one')
    .option('--plan', 'say what would be done, from the index alone, and write nothing')
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-f, --force', 'replace an existing output')
    .option('--resume', 'go on from what an interrupted run of the same job has left; leave it again when interrupted')
    .option('--no-space-check', 'start also where the disk has too little room')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
    .addHelpText('after', QUANTIZE_EXAMPLES)
    .action((file: string, flags: QuantizeFlags) => quantizeCommand(file, flags))

  program
    .command('inspect')
    .description('Show header, flags, metadata and tensors of a model.')
    .argument('<file>', 'an .apr model', path)
    .option('--json', 'print one JSON object')
    .option('--debug', 'show where in the code an error came from')
    .action(async (file: string, flags: ReadFlags) =>
      (await import('./cli/read-commands.js')).inspectCommand(file, flags),
    )

  program
    .command('verify')
    .description('Read a whole model and check all of it: structure, padding, block scales, checksum.')
    .argument('<file>', 'an .apr model', path)
    .option('--json', 'print one JSON object')
    .option('--debug', 'show where in the code an error came from')
    .action(async (file: string, flags: ReadFlags) =>
      (await import('./cli/read-commands.js')).verifyCommand(file, flags),
    )

  return program
}

const QUANTIZE_EXAMPLES = `
Examples:
  $ apr-stream quantize model.apr                        writes model.q4k.apr
  $ apr-stream quantize model.apr --plan                 exact output size, ratio, memory, room on the disk
  $ apr-stream quantize model.apr --skip 'lm_head.*'     keeps the output projection as it is
  $ apr-stream quantize model.apr --json -f -o out.apr   for scripts: a report as JSON

Exit status: 0 done, 1 failed, 2 wrong usage, ${exitStatusOfSignals()}. A job that failed leaves nothing
behind, with --resume what the next run goes on from.`

function exitStatusOfSignals(): string {
  return Object.entries(EXIT_CODES)
    .map(([signal, status]) => `${status} ended by ${signal}`)
    .join(', ')
}

function gather(value: string, previous: string[] = []): string[] {
  if (value === '') throw new InvalidArgumentError('expected a pattern, found an empty one')
  return [...previous, value]
}

function path(value: string): string {
  if (value === '') throw new InvalidArgumentError('expected a path, found an empty one')
  return value
}

function wholeNumber(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('expected a whole number above 0')
  return Number(value)
}

await main()
