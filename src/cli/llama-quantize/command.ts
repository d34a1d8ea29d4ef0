/** `apr-stream llama-quantize`: the command line of llama-quantize, taken as it is. */
import { readFileSync } from 'node:fs'
import { openFile } from '../../files/open-source.js'
import { llamaQuantize } from '../../jobs/llama-quantize/job.js'
import type { ChangedTensor } from '../../jobs/llama-quantize/plan.js'
import { AprError, printable } from '../../model/errors.js'
import { elementCount } from '../../model/tensor.js'
import { openImportance, type Importance } from '../../recipes/importance/importance.js'
import type { ImportanceOrigin } from '../../recipes/kvs.js'
import { checkTarget } from '../../recipes/llama/type-rules.js'
import { recipeNamed } from '../../recipes/names.js'
import type { RecipeSettings } from '../../recipes/settings.js'
import { runJob } from '../job-command.js'
import { reportFailure, UsageError } from '../output.js'
import { readArguments, type LlamaQuantizeArguments } from './arguments.js'
import { usage } from './usage.js'

/** llama-quantize has no other. */
const EXIT_FAILURE = 1

/** Runs it for people: what is done goes to standard error, and the exit status is 0, or 1 where it failed. */
export async function llamaQuantizeCommand(args: readonly string[]): Promise<void> {
  try {
    await runLlamaQuantize(args, (line) => process.stderr.write(`${line}\n`))
  } catch (error) {
    process.exitCode = EXIT_FAILURE
    reportFailure(inOptions(error), false, false)
    if (error instanceof UsageError) process.stderr.write(`\n${usage()}`)
  }
}

/**
 * Runs it.
 * @throws UsageError where llama-quantize shows its usage; AprError and the file system's own errors where it fails too
 */
export async function runLlamaQuantize(
  args: readonly string[],
  tell: (line: string) => void = () => undefined,
): Promise<void> {
  const given = readArguments(args, (path) => readFileSync(path, 'utf8'))
  const { imatrix, dryRun, threads } = given
  const importance = imatrix === '' ? undefined : await readImportance(given, tell)
  try {
    const recipe = recipeOf(given, importance, tell)
    const [input, output] = [given.input, given.output ?? ''].map((path) => `'${printable(path, 1000)}'`)
    const what = dryRun ? `calculating quantization size for ${input}` : `quantizing ${input} to ${output}`
    tell(`llama_quantize: ${what} as ${given.fileType}${threads === undefined ? '' : ` using ${threads} threads`}`)
    await runJob({ spaceCheck: true }, async (job) => {
      await llamaQuantize(given.input, dryRun ? undefined : given.output, {
        ...{ ...given, ...job, recipe, importance: importance && originOf(importance, imatrix) },
        onWarning: (text) => tell(`warning: ${printable(text, 1000)}`),
        onPlan: (tensors) => planLines(tensors).forEach(tell),
      })
      return () => undefined
    })
  } finally {
    await importance?.close()
  }
}

function originOf(matrix: Importance, file: string): ImportanceOrigin & { matrix: Importance } {
  const { dataset, entries, chunks } = matrix
  return { matrix, file, dataset, entries, chunks }
}

/** @returns undefined where nothing is left of it, as if there was none */
async function readImportance(
  { imatrix, include, exclude }: LlamaQuantizeArguments,
  tell: (line: string) => void,
): Promise<Importance | undefined> {
  const importance = await openImportance(await openFile(imatrix), { include, exclude })
  try {
    await importance.check()
  } catch (error) {
    await importance.close()
    throw error
  }
  tell(`llama_quantize: have ${importance.entries} importance matrix entries`)
  if (importance.entries > 0) return importance
  await importance.close()
  return undefined
}

/** @returns undefined for a copy */
function recipeOf(
  given: LlamaQuantizeArguments,
  importance: Importance | undefined,
  tell: (line: string) => void,
): RecipeSettings | undefined {
  if (given.fileType === 'COPY') return undefined
  const { outputType, embeddingType, pure, leaveOutput, keepSplit, dryRun } = given
  const name = recipeNamed(given.fileType)
  const isLacking = dryRun && name === 'Q2_K_S' && !importance
  if (isLacking) tell('llama_quantize: WARNING: Q2_K_S without --imatrix may be refused')
  return {
    ...{ name, pure, leaveOutput, keepOrder: keepSplit },
    outputType: outputType && checkTarget(outputType),
    embeddingType: embeddingType && checkTarget(embeddingType),
    // A dry run asks for neither.
    allowRequantize: given.allowRequantize || dryRun,
    ...(isLacking && { hasImportance: () => true }),
  }
}

function planLines(tensors: readonly ChangedTensor[]): string[] {
  const digits = String(tensors.length).length
  const lines = tensors.map(({ from, to }, i) => {
    const place = `[${String(i + 1).padStart(digits)}/${tensors.length}]`
    const shape = [...to.shape].reverse().join(', ')
    const what = from.dtype === to.dtype ? '' : `, converting to ${to.dtype}`
    const sizes = [from.size, ...(from.dtype === to.dtype ? [] : [to.size])].map(mebibytes).join(' -> ')
    return `${place} ${printable(to.name).padEnd(36)} - [${shape}], type = ${from.dtype}${what}, size = ${sizes}`
  })
  const elements = tensors.reduce((sum, { from }) => sum + elementCount(from.shape), 0)
  const total = (name: string, sizes: number[]): string => {
    const size = sizes.reduce((sum, bytes) => sum + bytes, 0)
    return `llama_quantize: ${name} size  = ${mebibytes(size)} (${((size * 8) / elements).toFixed(2)} BPW)`
  }
  lines.push(
    total(
      'model',
      tensors.map(({ from }) => from.size),
    ),
    total(
      'quant',
      tensors.map(({ to }) => to.size),
    ),
  )
  const fallbacks = tensors.filter(({ reason }) => reason === 'fallback').length
  const warning = `llama_quantize: WARNING: ${fallbacks} of ${tensors.length} tensor(s) required fallback quantization`
  return fallbacks > 0 ? [...lines, warning] : lines
}

function mebibytes(size: number): string {
  return `${(size / 2 ** 20).toFixed(2)} MiB`
}

/** Options of the library, in backticks, as llama-quantize calls them. */
function inOptions(error: unknown): unknown {
  if (!(error instanceof AprError)) return error
  const words: Record<string, string> = {
    allowRequantize: '--allow-requantize',
    types: '--tensor-type',
    outputType: '--output-tensor-type',
    embeddingType: '--token-embedding-type',
    imatrix: '--imatrix',
  }
  error.message = error.message.replace(/`([^`]*)`/g, (quoted, option: string) => words[option] ?? quoted)
  return error
}
