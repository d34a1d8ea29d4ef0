import { Option, type Command } from 'commander'
import { gather, path, share, wholeNumber } from './arguments.js'
import type { CompareFlags } from './compare-command.js'

/** The command `compare`. */
export function addCompare(program: Command): void {
  program
    .command('compare')
    .description('Show how far one model is from another, tensor by tensor: of any of the formats, and of any dtypes.')
    .argument('<a>', 'the original: a file, the first file of a split model, or a folder of safetensors', path)
    .argument('<b>', 'the model that is held against it', path)
    .addOption(
      new Option(
        '--max-error <error>',
        'exit with 1 where a tensor has a larger relative error, and name these: 8% or 0.08',
      ).argParser(share),
    )
    .option('--imatrix <file>', 'importance matrix of llama-imatrix: errors are weighted by it, too', path)
    .option('--report <file>', 'write all figures to a .json file, or to an .html page', path)
    .option('--only <pattern>', 'compare only tensors whose name matches this glob; may be given again', gather)
    .option('--skip <pattern>', 'do not compare tensors whose name matches this glob; may be given again', gather)
    .option('--config <folder>', 'where config.json is, for a model that comes without it', path)
    .addOption(
      new Option('--threads <count>', 'worker threads at the most (default: the cores that are there)').argParser(
        wholeNumber,
      ),
    )
    .option('-f, --force', 'replace an existing report')
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-q, --quiet', 'print nothing but errors, and tensors beyond --max-error')
    .option('--debug', 'show where in the code an error came from')
    .action(async (a: string, b: string, flags: CompareFlags) =>
      (await import('./compare-command.js')).compareCommand(a, b, flags),
    )
}
