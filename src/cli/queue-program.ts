/** The commands that make the parts of a plan by a queue. */
import { InvalidArgumentError, Option, type Command } from 'commander'
import { path, wholeNumber } from './arguments.js'
import type { QueueFlags, UiAddress, WorkerFlags } from './queue-commands.js'

export function addQueueCommands(program: Command): void {
  addConnection(program.command('queue'))
    .description('Add a plan to a queue: workers of any machine make its parts, and finish it.')
    .argument('<job>', 'the file that plan --save has written', path)
    .option('-w, --wait', 'wait until the output is in its place; the exit status says whether')
    .option('--cancel', 'instead: end its parts wherever they run, remove what they have left, and forget it')
    .option('--json', 'print one JSON object on standard output, and nothing else there')
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
    .action(async (job: string, flags: QueueFlags) => (await commands()).queueCommand(job, flags))

  addConnection(program.command('worker'))
    .description('Make parts of what is in a queue, until it is ended. The first SIGTERM or Ctrl-C lets them end.')
    .addOption(
      new Option('--concurrency <count>', 'parts under way at once (default: 1, with all threads)').argParser(
        wholeNumber,
      ),
    )
    .addOption(
      new Option('--threads <count>', 'worker threads at the most (default: the cores that are there)').argParser(
        wholeNumber,
      ),
    )
    .addOption(
      new Option(
        '--ui [address]',
        'show a page with all flows on this PORT, or HOST:PORT for others than this machine to see',
      )
        .argParser(uiAddress)
        .preset('7878'),
    )
    .option('-q, --quiet', 'print nothing but errors')
    .option('--debug', 'show where in the code an error came from')
    .addHelpText('after', EXAMPLES)
    .action(async (flags: WorkerFlags) => (await commands()).workerCommand(flags))
}

const commands = (): Promise<typeof import('./queue-commands.js')> => import('./queue-commands.js')

function addConnection(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'the queue is in this Redis or Valkey: redis://[USER:PASSWORD@]HOST[:PORT]').env(
        'APR_STREAM_REDIS',
      ),
    )
    .addOption(
      new Option(
        '--postgres <url>',
        'the queue is in this PostgreSQL: postgres://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE',
      ).env('APR_STREAM_POSTGRES'),
    )
    .option('--queue <name>', 'name of the queue (default: apr-stream)', path)
}

/** `7878`, `0.0.0.0:7878` or `[::]:7878`. */
function uiAddress(value: string): UiAddress {
  const [, host = '127.0.0.1', digits = ''] = /^(?:(\[[0-9a-f:.]+\]|[^:[\]]+):)?(\d{1,5})$/i.exec(value) ?? []
  const port = Number(digits)
  if (digits === '' || port > 65_535) throw new InvalidArgumentError('expected PORT or HOST:PORT')
  return { host: host.replace(/^\[|\]$/g, ''), port }
}

const EXAMPLES = `
Examples:
  $ apr-stream worker --redis redis://queue.local                as many of them as there are machines
  $ apr-stream worker --redis redis://queue.local --ui           and a page at http://127.0.0.1:7878
  $ apr-stream plan Qwen3-0.6B/ -o /shared/qwen3.gguf -s Q4_K_M --save job.json
  $ apr-stream queue job.json --redis redis://queue.local --wait

APR_STREAM_REDIS or APR_STREAM_POSTGRES in the environment stand for --redis and --postgres, so that a password is in no
list of processes.`
