import { readFile, writeFile } from 'node:fs/promises'
import { abort } from '../jobs/parts/abort.js'
import { checkPlan } from '../jobs/parts/document.js'
import { finish } from '../jobs/parts/finish.js'
import { without, type PartProgress, type PartsPlanOptions } from '../jobs/parts/options.js'
import { part } from '../jobs/parts/part.js'
import { plan } from '../jobs/parts/plan.js'
import { AprError, printable } from '../model/errors.js'
import type { PartsPlan } from '../parts/blocks.js'
import { blockCount } from '../parts/cut.js'
import { convertCommand, type ConvertFlags } from './convert-command.js'
import { inFlags } from './flags.js'
import { outputOptions, runJob } from './job-command.js'
import { SCHEMA_VERSION } from './json.js'
import { bytes, count, plural, print, printJson, UsageError } from './output.js'
import {
  defaultOutput,
  isRecipe,
  q4kChoices,
  quantizeCommand,
  recipeOptions,
  refuse,
  type QuantizeFlags,
} from './quantize-command.js'

export interface PlanFlags extends QuantizeFlags {
  save?: string
  convert?: boolean
  outtype?: ConvertFlags['outtype']
  blockSize?: number
  unitSize?: number
}

export interface PartsFlags {
  json?: boolean
  quiet?: boolean
}

export interface PartFlags extends PartsFlags {
  unit?: number
  threads?: number
}

/** @throws UsageError for flags that do not go together */
export async function planCommand(file: string, flags: PlanFlags): Promise<void> {
  const { save, convert, output } = flags
  if (convert && output === undefined) throw new UsageError('--convert needs an output: -o FILE')
  if (!convert) refuse('a plan that quantizes; --convert takes it', { '--outtype': flags.outtype })
  if (save === undefined) {
    refuse('a plan that is not saved: give --save', { '--block-size': flags.blockSize, '--unit-size': flags.unitSize })
    if (convert)
      await convertCommand(file, { ...flags, output: output ?? '', outtype: flags.outtype ?? 'auto', plan: true })
    else await quantizeCommand(file, { ...flags, plan: true })
    return
  }
  const target = output ?? defaultOutput(file, flags)
  const options = await planOptions(flags)
  const made = await plan(file, target, options).catch((error: unknown) => {
    throw inFlags(error, flags)
  })
  try {
    await writeFile(save, `${JSON.stringify(made, undefined, 2)}\n`)
  } catch (error) {
    // Nobody could ever go on with it.
    await abort(made).catch(() => undefined)
    throw error
  }
  const units = made.units.length
  if (flags.json) {
    const { id, input, totalBytes, blockBytes } = made
    const sizes = { bytes: totalBytes, blockBytes, blocks: blockCount(made) }
    printJson({ schemaVersion: SCHEMA_VERSION, save, id, input, output: made.output, units, ...sizes })
  } else if (!flags.quiet) print(String(units))
}

async function planOptions(flags: PlanFlags): Promise<PartsPlanOptions> {
  refuse('--save', {
    ...{ '--plan': flags.plan, '--resume': flags.resume, '--threads': flags.threads, '--importance': flags.importance },
    ...{ '--split-max-size': flags.splitMaxSize, '--save-types': flags.saveTypes },
    '--mode': flags.mode === 'auto' ? undefined : true,
  })
  const { to, pre, config, overwrite, spaceCheck } = outputOptions(flags)
  const { strict, blockSize: blockBytes, unitSize: unitBytes } = flags
  const common = { to, pre, config, overwrite, spaceCheck, strict: strict ?? false, blockBytes, unitBytes }
  if (flags.convert) {
    const { outtype, fit, kept, compat, only, skip, imatrix, type, types, outputType, embeddingType } = flags
    refuse('--convert', {
      ...{ '--fit': fit, '--kept': kept, '--compat': compat, '--only': only, '--skip': skip, '--imatrix': imatrix },
      ...{ '--type': type, '--types': types, '--output-type': outputType, '--embedding-type': embeddingType },
      ...{ '--pure': flags.pure, '--leave-output': flags.leaveOutput, '--allow-requantize': flags.allowRequantize },
      ...{ '--target-size': flags.targetSize, '--target-bpw': flags.targetBpw },
      ...{ '--scheme': flags.scheme === 'q4k' ? undefined : true, '--no-fallback': flags.fallback ? undefined : true },
    })
    return { ...common, convert: true, outtype }
  }
  if (isRecipe(flags)) {
    const { types = {}, ...recipe } = without(await recipeOptions(flags), 'importance', 'select')
    return { ...common, ...recipe, ...(Object.keys(types).length > 0 && { types }) }
  }
  return { ...common, ...q4kChoices(flags), select: flags.compat ?? 'default', only: flags.only, skip: flags.skip }
}

export async function partCommand(job: string, flags: PartFlags): Promise<void> {
  const made = await readPlan(job)
  const { threads } = flags
  const unit = flags.unit ?? unitOfEnvironment()
  await runJob(
    flags,
    async ({ signal, onProgress }) => {
      const started = performance.now()
      const tell = onProgress && told(onProgress)
      const receipts = await part(made, unit, { threads, signal, onProgress: tell })
      const { totalBytes, blockBytes } = made
      const size = receipts.reduce((sum, { block }) => sum + Math.min(blockBytes, totalBytes - block * blockBytes), 0)
      const seconds = (performance.now() - started) / 1000
      return () => {
        const blocks = receipts.length
        if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, id: made.id, unit, blocks, bytes: size, seconds })
        else if (!flags.quiet)
          print(`unit ${unit}: ${plural(blocks, 'block')}, ${bytes(size)}, ${seconds.toFixed(2)} s`)
      }
    },
    INTERRUPTED,
  )
}

export async function finishCommand(job: string, flags: PartsFlags): Promise<void> {
  const made = await readPlan(job)
  await runJob(
    flags,
    async ({ signal, onProgress }) => {
      const finished = await finish(made, { signal, onProgress: onProgress && told(onProgress) })
      return () => {
        if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, id: made.id, ...finished })
        else if (!flags.quiet) {
          print(printable(finished.output))
          print(`  ${count(finished.bytes)} bytes${finished.already ? ', there already' : ''}`)
        }
      }
    },
    INTERRUPTED,
  )
}

export async function abortCommand(job: string, flags: PartsFlags): Promise<void> {
  const made = await readPlan(job)
  await abort(made)
  if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, id: made.id, aborted: true })
  else if (!flags.quiet) print(`what the plan ${made.id} has left is gone; its output stays, where it is in its place`)
}

/** @throws AprError `APR_BAD_OPTION` for what is no plan; the file system's own errors */
export async function readPlan(path: string): Promise<PartsPlan> {
  const text = await readFile(path, 'utf8')
  try {
    return checkPlan(JSON.parse(text) as unknown, path)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    const what = `expected a plan as \`plan\` makes it, found what is no JSON: ${error.message}`
    throw new AprError('APR_BAD_OPTION', what, { file: path })
  }
}

const INTERRUPTED = 'what is made stays, run it again'

/** Where engines say which unit is meant. */
const VARIABLES = ['JOB_COMPLETION_INDEX', 'SLURM_ARRAY_TASK_ID']

function unitOfEnvironment(): number {
  const name = VARIABLES.find((variable) => (process.env[variable] ?? '') !== '')
  const value = name === undefined ? '' : (process.env[name] ?? '')
  if (/^\d{1,9}$/.test(value)) return Number(value)
  const found = name === undefined ? 'none' : `${name}=${printable(value)}`
  throw new UsageError(`expected a unit: --unit NUMBER, or ${VARIABLES.join(' or ')}; found ${found}`)
}

/** Blocks in the words of the bar. */
function told(
  onProgress: (
    progress: { phase: 'writing' } & Record<'bytes' | 'totalBytes' | 'tensors' | 'totalTensors', number> & {
        tensor: string
      },
  ) => void,
): (progress: PartProgress) => void {
  return ({ blocks, totalBlocks, ...sizes }) =>
    onProgress({
      phase: 'writing',
      ...sizes,
      tensors: 0,
      totalTensors: 0,
      tensor: `${blocks} of ${totalBlocks} blocks`,
    })
}
