#!/usr/bin/env node
import { Command, CommanderError, Option } from 'commander'
import { dtypeOption, gather, gatherType, path, positiveNumber, size, splitSize, wholeNumber } from './cli/arguments.js'
import { addCompare } from './cli/compare-arguments.js'
import type { ConvertFlags } from './cli/convert-command.js'
import type { ImatrixFlags } from './cli/imatrix-command.js'
import { EXIT_CODES } from './cli/job-command.js'
import { quantizeCommand, type QuantizeFlags } from './cli/quantize-command.js'
import { addQueueCommands } from './cli/queue-program.js'
import { addPartsCommands } from './cli/parts-program.js'
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
    .description('Convert and quantize model files of any size in constant memory: APR, GGUF and safetensors.')
    .version(VERSION, '-V, --version')
    .showHelpAfterError('(run with --help to see all options)')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })

  const quantize = program
    .command('quantize')
    .description('Quantize a model: to Q4_K, or as a recipe of llama.cpp. The output appears whole or not at all.')
    .argument(
      '<file>',
      'the model to quantize: a file, the first file of a split model, or a folder of safetensors',
      path,
    )
    .addHelpText('after', QUANTIZE_EXAMPLES)
    .action((file: string, flags: QuantizeFlags) => quantizeCommand(file, flags))
  addQuantizeOptions(quantize)
  quantize.option(
    '--report <file>',
    'write the errors of every tensor to a .json file or an .html page, when the job has succeeded',
    path,
  )
  addOutputOptions(quantize)

  const convert = program
    .command('convert')
    .description(
      'Convert a model to another format, or join and split one. Always streams. The output appears whole or not at all.',
    )
    .argument('<input>', 'the model: a file, the first file of a split model, or a folder of safetensors', path)
    .requiredOption(
      '-o, --output <path>',
      'where the result goes; its name tells the format, where --to does not',
      path,
    )
    .addOption(
      new Option('--outtype <type>', 'dtype of the matrices where GGUF is made: auto is that of the first half float')
        .choices(['auto', 'f32', 'f16', 'bf16'])
        .default('auto'),
    )
    .addHelpText('after', CONVERT_EXAMPLES)
    .action(async (file: string, flags: ConvertFlags) =>
      (await import('./cli/convert-command.js')).convertCommand(file, flags),
    )
  addOutputOptions(convert)

  program
    .command('inspect')
    .description('Show header, flags, metadata and tensors of a model.')
    .argument('<file>', 'a model: a file, the first file of a split model, or a folder of safetensors', path)
    .option('--json', 'print one JSON object')
    .option('--debug', 'show where in the code an error came from')
    .action(async (file: string, flags: ReadFlags) =>
      (await import('./cli/read-commands.js')).inspectCommand(file, flags),
    )

  program
    .command('verify')
    .description(
      'Read a whole model and check all of it: structure, padding, block scales, and the checksum of an .apr file.',
    )
    .argument('<file>', 'a model: a file, the first file of a split model, or a folder of safetensors', path)
    .option('--json', 'print one JSON object')
    .option('--debug', 'show where in the code an error came from')
    .action(async (file: string, flags: ReadFlags) =>
      (await import('./cli/read-commands.js')).verifyCommand(file, flags),
    )

  addCompare(program)

  program
    .command('imatrix')
    .description('Write an importance matrix, as quantize and llama-quantize take it, of the weights of a model alone.')
    .argument('<file>', 'a model: a file, the first file of a split model, or a folder of safetensors', path)
    .requiredOption('-o, --output <file>', 'the .gguf file that is made', path)
    .addOption(new Option('--from <what>', 'what it is computed from').choices(['weights']).default('weights'))
    .option('--pre <name>', 'pre-tokenizer, as llama.cpp calls it, where the tokenizer is unknown', path)
    .option('--config <folder>', 'where config.json and the tokenizer are, for a model that comes without them', path)
    .option('-f, --force', 'replace an existing output')
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
    .action(async (file: string, flags: ImatrixFlags) =>
      (await import('./cli/imatrix-command.js')).imatrixCommand(file, flags),
    )

  const plan = program
    .command('plan')
    .description(
      'Say how a model would be quantized; with --save, how it is made in parts by many processes or machines.',
    )
    .argument('<input>', 'the model: a file, the first file of a split model, a folder of safetensors, or a URL', path)
  addQuantizeOptions(plan)
  addOutputOptions(plan)
  addPartsCommands(program, plan)
  addQueueCommands(program)

  program
    .command('llama-quantize')
    .description(
      'What llama-quantize does, of the same command line: apr-stream llama-quantize IN.gguf OUT.gguf Q4_K_M',
    )
    .usage('[options] MODEL.gguf [OUTPUT.gguf] TYPE [THREADS]')
    .argument('[arguments...]')
    // Its options are its own, and stand in its own order.
    .allowUnknownOption()
    .helpOption(false)
    .action(async () => (await import('./cli/llama-quantize/command.js')).llamaQuantizeCommand(process.argv.slice(3)))

  return program
}

/** What is quantized, and to what. */
function addQuantizeOptions(command: Command): void {
  command
    .option(
      '-o, --output <file>',
      'where the result goes (default: FILE with .q4k.apr, .q4k.gguf, or of a recipe .Q4_K_M.gguf)',
      path,
    )
    .addOption(
      new Option(
        '-s, --scheme <scheme>',
        'q4k, or a recipe: what llama-quantize makes of Q4_K_M, Q6_K, ..., byte for byte',
      ).default('q4k'),
    )
    .option('--imatrix <file>', 'with a recipe: importance matrix of llama-imatrix, in either of its forms', path)
    .addOption(
      new Option(
        '--importance <how>',
        'with a recipe: compute the importance matrix; moments takes the weights alone, and reads them once more',
      ).choices(['moments']),
    )
    .addOption(
      new Option(
        '--type <pattern=type>',
        'with a recipe: dtype of tensors in whose names this regular expression is found; may be given again, the first counts',
      ).argParser(gatherType),
    )
    .option(
      '--types <file>',
      'with a recipe: a file of such rules, as --save-types writes them; --type comes first',
      path,
    )
    .addOption(
      new Option(
        '--target-size <size>',
        'choose dtypes by their errors, for an output of this size at the most: bytes, or as 4GB, 3.5GiB, 900MB',
      ).argParser(size),
    )
    .addOption(
      new Option('--target-bpw <bits>', 'the same, as bits of all tensors together a weight: 4.5').argParser(
        positiveNumber,
      ),
    )
    .option('--save-types <file>', 'write the dtypes that were chosen to a file for --types, also with --plan', path)
    .addOption(
      dtypeOption('--output-type <type>', 'with a recipe: dtype of output.weight, or of a tied token_embd.weight'),
    )
    .addOption(dtypeOption('--embedding-type <type>', 'with a recipe: dtype of token_embd.weight'))
    .option('--pure', 'with a recipe: its default dtype for every tensor that may be quantized')
    .option('--leave-output', 'with a recipe: output.weight stays as it is')
    .option('--allow-requantize', 'with a recipe: quantize again what is quantized already')
    .option('--no-fallback', 'with a recipe: a tensor whose rows are not whole blocks is an error')
    .addOption(
      new Option(
        '--fit <fit>',
        "how scales are found: search gives llama.cpp's bytes, minmax those of `apr quantize` (faster, worse), refined the least error",
      ).choices(['search', 'minmax', 'refined']),
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
}

/** What the commands that write a model have in common. */
function addOutputOptions(command: Command): void {
  command
    .addOption(
      new Option('--to <format>', "format of the output (default: told by the output's name)").choices([
        'apr',
        'gguf',
        'safetensors',
      ]),
    )
    .option('--pre <name>', 'pre-tokenizer, as llama.cpp calls it, where GGUF is made of an unknown tokenizer', path)
    .option('--config <folder>', 'where config.json and the tokenizer are, for a model that comes without them', path)
    .addOption(
      new Option(
        '--split-max-size <size>',
        'tensor data in a file at the most: bytes, or thousands of them as 500M or 2G (default: one file)',
      ).argParser(splitSize),
    )
    .option('--plan', 'say what would be done, from the index alone, and write nothing')
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-f, --force', 'replace an existing output')
    .option('--resume', 'go on from what an interrupted run of the same job has left; leave it again when interrupted')
    .option('--no-space-check', 'start also where the disk has too little room')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
}

const CONVERT_EXAMPLES = `
Examples:
  $ apr-stream convert Qwen3-0.6B/ -o qwen3.gguf                    what llama.cpp's converter writes
  $ apr-stream convert Qwen3-0.6B/ -o qwen3.gguf --plan             tensors, keys and exact sizes; writes nothing
  $ apr-stream convert model.gguf -o model.apr                      GGUF to APR
  $ apr-stream convert big.gguf -o parts.gguf --split-max-size 2G   splits
  $ apr-stream convert parts-00001-of-00003.gguf -o big.gguf        joins

Exit status: as of quantize. A job that failed leaves nothing behind, with --resume what the next run goes on from.`

const QUANTIZE_EXAMPLES = `
Examples:
  $ apr-stream quantize model.apr                        writes model.q4k.apr
  $ apr-stream quantize model.apr --plan                 exact output size, ratio, memory, room on the disk
  $ apr-stream quantize model.apr --skip 'lm_head.*'     keeps the output projection as it is
  $ apr-stream quantize Qwen3-0.6B/ -o qwen3.gguf        converts on the way
  $ apr-stream quantize Qwen3-0.6B/ -s Q4_K_M            writes Qwen3-0.6B.Q4_K_M.gguf, as llama.cpp's tools would
  $ apr-stream quantize model.apr --json -f -o out.apr   for scripts: a report as JSON

Exit status: 0 done, 1 failed, 2 wrong usage, ${exitStatusOfSignals()}. A job that failed leaves nothing
behind, with --resume what the next run goes on from.`

function exitStatusOfSignals(): string {
  return Object.entries(EXIT_CODES)
    .map(([signal, status]) => `${status} ended by ${signal}`)
    .join(', ')
}

await main()
