/** The commands that make a model in parts. */
import { Option, type Command } from 'commander'
import { path, size, wholeNumber, wholeNumberFrom0 } from './arguments.js'
import type { PartFlags, PartsFlags, PlanFlags } from './parts-commands.js'

/** @param plan has the options of what is made already */
export function addPartsCommands(program: Command, plan: Command): void {
  plan
    .option(
      '--save <job>',
      'write the plan to this file, for part, finish and abort, and make room for the output',
      path,
    )
    .option('--convert', 'convert only, and quantize nothing')
    .addOption(
      new Option('--outtype <type>', 'with --convert: dtype of the matrices where GGUF is made').choices([
        'auto',
        'f32',
        'f16',
        'bf16',
      ]),
    )
    .addOption(
      new Option(
        '--block-size <size>',
        'with --save: size of a block, a multiple of 64KiB (default: 16MiB, or more where there would be over 9,000)',
      ).argParser(size),
    )
    .addOption(
      new Option('--unit-size <size>', 'with --save: output of a unit, about (default: 512MiB)').argParser(size),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, flags: PlanFlags) => (await commands()).planCommand(file, flags))

  addParts(program.command('part'), 'Make one unit of a plan. May be run again, and by several at once.')
    .addOption(
      new Option(
        '-u, --unit <number>',
        'which, from 0 on (default: JOB_COMPLETION_INDEX of Kubernetes, or SLURM_ARRAY_TASK_ID)',
      ).argParser(wholeNumberFrom0),
    )
    .addOption(
      new Option('--threads <count>', 'worker threads at the most (default: the cores that are there)').argParser(
        wholeNumber,
      ),
    )
    .action(async (job: string, flags: PartFlags) => (await commands()).partCommand(job, flags))
  addParts(program.command('finish'), 'Check that all units are made, and put the output to its place.').action(
    async (job: string, flags: PartsFlags) => (await commands()).finishCommand(job, flags),
  )
  addParts(program.command('abort'), 'Remove all that a plan has left. An output that is in its place stays.').action(
    async (job: string, flags: PartsFlags) => (await commands()).abortCommand(job, flags),
  )
}

const commands = (): Promise<typeof import('./parts-commands.js')> => import('./parts-commands.js')

function addParts(command: Command, description: string): Command {
  return command
    .description(description)
    .argument('<job>', 'the file that plan --save has written', path)
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
}

const EXAMPLES = `
Examples:
  $ apr-stream plan Qwen3-0.6B/ -o qwen3.gguf -s Q4_K_M --save job.json    prints the number of units
  $ apr-stream part job.json --unit 0                                      each unit, anywhere, in any order
  $ apr-stream finish job.json                                             checks, and puts the output to its place
  $ apr-stream abort job.json                                              instead: removes what is there

Without --save it is quantize --plan. Exit status: as of quantize.`
