import { statSync } from 'node:fs'
import { plan, type Plan } from '../jobs/plan.js'
import type { JobSummary, QuantizeOptions, QuantizeReport } from '../jobs/job.js'
import type { Fit } from '../quant/kernel.js'
import { selectAsApr, selectByDefault, type Kept } from '../quant/policy.js'
import { printable } from '../model/errors.js'
import type { Decision } from '../streams/quantize/quantization.js'
import { keepHeapSmall } from './heap.js'
import { inFlags } from './flags.js'
import { SCHEMA_VERSION } from './json.js'
import { selectByPatterns } from '../jobs/select-by-patterns.js'
import { outputOptions, runJob, type OutputFlags } from './job-command.js'
import { bytes, columns, count, plural, print, printJson, sizeChange, UsageError, warn, wrongUsage } from './output.js'
import { fileNameOf, remoteAddress, withoutSecrets } from '../remote/address.js'
import { readTypes, writeTypes } from './types-file.js'
import { recipeNamed, type RecipeName, type TargetDType } from '../recipes/names.js'

export interface QuantizeFlags extends OutputFlags, RecipeFlags {
  scheme: string
  fit?: Fit
  kept?: Kept
  compat?: 'apr'
  mode: 'auto' | 'stream' | 'memory'
  only?: string[]
  skip?: string[]
  report?: string
  strict?: boolean
  threads?: number
}

/** Flags that only a recipe takes. */
interface RecipeFlags {
  imatrix?: string
  importance?: 'moments'
  type?: [pattern: string, dtype: TargetDType][]
  types?: string
  targetSize?: number
  targetBpw?: number
  saveTypes?: string
  outputType?: TargetDType
  embeddingType?: TargetDType
  pure?: boolean
  leaveOutput?: boolean
  allowRequantize?: boolean
  fallback: boolean
}

const SHOWN_TENSORS = 20

const FLAGS = { only: '--only', skip: '--skip' }

const REASONS: Record<Decision['reason'], string> = {
  selected: 'quantized',
  dtype: 'kept: holds integers',
  quantized: 'kept: is quantized already',
  tied: 'kept: stands for a tied tensor',
  rank: 'kept: has fewer than 2 dimensions',
  size: 'kept: has fewer than 256 elements',
  name: 'kept: is a bias, norm, scale or embedding by its name',
  width: 'kept: has rows that are no multiple of 256 elements, which GGUF cannot hold as Q4_K',
  user: 'kept: not selected',
  rule: 'of the dtype that the recipe gives',
  pattern: 'of the dtype of a pattern',
  option: 'of the dtype of an option',
  fallback: 'of a dtype whose blocks fit its rows',
  excluded: 'kept: no recipe touches it',
}

/** @throws UsageError for flags that do not go together */
export async function quantizeCommand(file: string, flags: QuantizeFlags): Promise<void> {
  const output = flags.output ?? defaultOutput(file, flags)
  const options = await toOptions(flags)
  if (flags.plan) {
    keepHeapSmall()
    const result = await plan(file, { ...options, output }).catch((error: unknown) => {
      throw inFlags(error, flags)
    })
    await saveTypes(flags, result)
    if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, output, ...result })
    else if (!flags.quiet) printPlan(result, output)
    if (!flags.quiet) result.warnings.forEach(warn)
    return
  }
  // Loaded only now: a plan needs neither streams nor a bar, and stays small.
  const { quantize } = await import('../jobs/quantize.js')
  await runJob(flags, async (job) => {
    const report = await quantize(file, output, { ...options, ...job })
    await saveTypes(flags, report)
    return () => {
      if (!flags.quiet) report.warnings.forEach(warn)
      if (flags.json) printJson({ schemaVersion: SCHEMA_VERSION, ...report })
      else if (!flags.quiet) printReport(report)
    }
  })
}

async function toOptions(flags: QuantizeFlags): Promise<QuantizeOptions> {
  const { mode, threads } = flags
  if (flags.resume && mode === 'memory')
    throw new UsageError('--resume goes on with a stream; it cannot be had with --mode memory')
  const kind = isRecipe(flags) ? await recipeOptions(flags) : await q4kOptions(flags)
  return {
    ...kind,
    mode,
    ...outputOptions(flags),
    strict: flags.strict ?? false,
    ...(flags.report !== undefined && { report: flags.report }),
    ...(threads !== undefined && { threads }),
  }
}

export function isRecipe(flags: QuantizeFlags): boolean {
  return recipeOf(flags) !== undefined || flags.targetSize !== undefined || flags.targetBpw !== undefined
}

/** The recipe of `--scheme`; undefined for Q4_K by a rule. */
function recipeOf({ scheme }: QuantizeFlags): RecipeName | undefined {
  return scheme === 'q4k' ? undefined : recipeNamed(scheme)
}

async function q4kOptions(flags: QuantizeFlags): Promise<QuantizeOptions> {
  const { compat, only, skip } = flags
  const choices = q4kChoices(flags)
  const rule = compat ? selectAsApr : selectByDefault
  return { select: await selectByPatterns(rule, only, skip, FLAGS).catch(wrongUsage), ...choices }
}

/** @throws UsageError for flags of a recipe, or that do not go together */
export function q4kChoices(flags: QuantizeFlags): { fit: Fit; kept: Kept } {
  const { compat, imatrix, importance, type, outputType, embeddingType, pure, leaveOutput, allowRequantize } = flags
  refuse('--scheme q4k', {
    '--imatrix': imatrix,
    '--importance': importance,
    '--type': type,
    '--types': flags.types,
    '--save-types': flags.saveTypes,
    '--output-type': outputType,
    '--embedding-type': embeddingType,
    '--pure': pure,
    '--leave-output': leaveOutput,
    '--allow-requantize': allowRequantize,
    '--no-fallback': flags.fallback ? undefined : true,
  })
  if (compat && ((flags.fit && flags.fit !== 'minmax') || (flags.kept && flags.kept !== 'f32'))) {
    throw new UsageError(
      '--compat apr means --fit minmax and --kept f32; another fit or kept dtype cannot be had with it',
    )
  }
  return { fit: flags.fit ?? (compat ? 'minmax' : 'search'), kept: flags.kept ?? (compat ? 'f32' : 'auto') }
}

/** @throws UsageError for flags of Q4_K by a rule, and for a file of types that is none */
export async function recipeOptions(flags: QuantizeFlags): Promise<QuantizeOptions> {
  const { scheme, fit, kept, compat, only, skip, imatrix, importance, type } = flags
  refuse(`--scheme ${scheme}`, {
    '--fit minmax': fit === 'minmax' || undefined,
    '--kept': kept,
    '--compat': compat,
    '--only': only,
    '--skip': skip,
  })
  // Of one pattern the first counts, as of two that are found in one name.
  const types = new Map<string, TargetDType>()
  const rules = [...(type ?? []), ...(flags.types === undefined ? [] : await readTypes(flags.types))]
  for (const [pattern, dtype] of rules) if (!types.has(pattern)) types.set(pattern, dtype)
  if (flags.saveTypes !== undefined && flags.targetSize === undefined && flags.targetBpw === undefined) {
    throw new UsageError('--save-types writes what --target-size or --target-bpw has chosen: give one of them')
  }
  const { outputType, embeddingType, pure, leaveOutput, allowRequantize, fallback } = flags
  return {
    recipe: recipeOf(flags),
    fit,
    ...{ imatrix, importance, types: Object.fromEntries(types), outputType, embeddingType },
    ...{ pure, leaveOutput, allowRequantize, fallback },
    ...{ targetBytes: flags.targetSize, bitsPerWeight: flags.targetBpw },
  }
}

/** @throws UsageError for the first flag that was given */
export function refuse(scheme: string, flags: Readonly<Record<string, unknown>>): void {
  const given = Object.keys(flags).find((flag) => flags[flag] !== undefined)
  if (given !== undefined) throw new UsageError(`${given} cannot be had with ${scheme}`)
}

/** Beside the input; safetensors, which do not hold Q4_K, become GGUF, and so does what a recipe makes. */
export function defaultOutput(file: string, flags: QuantizeFlags): string {
  const { to } = flags
  const remote = remoteAddress(file)
  if (remote) return defaultOutput(localName(remote.url), flags)
  const [, stem = file, ending] = /^(.+?)(\.apr|\.gguf|\.safetensors|[/\\]+)$/.exec(file) ?? []
  const recipe = recipeOf(flags)
  if (recipe !== undefined) return `${stem}.${recipe}.${to ?? 'gguf'}`
  if (isRecipe(flags)) return `${stem}.${flags.targetBpw === undefined ? 'sized' : `${flags.targetBpw}bpw`}.gguf`
  const isFolder = statSync(file, { throwIfNoEntry: false })?.isDirectory() ?? false
  const isGguf = to ? to === 'gguf' : isFolder || ending === '.gguf' || ending === '.safetensors'
  return `${stem}.q4k.${isGguf ? 'gguf' : 'apr'}`
}

/** What stands elsewhere becomes a file of that name here: a model on the Hub is a folder, as one that ends with a slash. */
function localName(url: string): string {
  const name = fileNameOf(url)
  const isFolder = name === '' || (/^hf:/i.test(url) && !/^hf:\/\/[^/]+\/[^/]+\/./i.test(url))
  if (!isFolder) return name
  const folder = withoutSecrets(url).replace(/\/+$/, '').split('/').at(-1) ?? 'model'
  return `${folder.replace(/@.*$/, '')}/`
}

function printReport(report: QuantizeReport): void {
  if (report.restartReason !== undefined) print(`started over: ${printable(report.restartReason)}`)
  if (report.resumedTensors > 0) print(`resumed: ${plural(report.resumedTensors, 'tensor')} of an earlier run`)
  const { inputBytes, outputBytes, ratio, seconds, peakMemoryBytes, mode } = report
  print(printable(report.output))
  const bits = report.bitsPerWeight.toFixed(2)
  print(`  ${bytes(inputBytes)} -> ${bytes(outputBytes)}, ${sizeChange(ratio)}, ${bits} bits a weight`)
  for (const line of reasonLines(report.reasons)) print(`  ${line}`)
  printChoice(report)
  print(
    `  ${seconds.toFixed(2)} s, ${bytes(inputBytes / seconds)}/s, peak memory ${bytes(peakMemoryBytes)} (mode ${mode})`,
  )
}

function printPlan(plan: Plan, output: string): void {
  const { inputBytes, outputBytes, ratio, freeBytes, peakMemoryBytes, mode } = plan
  print(`${printable(plan.input)} -> ${printable(output)}`)
  const bits = plan.bitsPerWeight.toFixed(2)
  print(`  ${count(inputBytes)} bytes -> ${count(outputBytes)} bytes, ${sizeChange(ratio)}, ${bits} bits a weight`)
  for (const line of reasonLines(plan.reasons)) print(`  ${line}`)
  printChoice(plan)
  for (const [title, dtypes] of Object.entries({ before: plan.inputDTypes, after: plan.outputDTypes })) {
    const census = Object.entries(dtypes).map(
      ([dtype, { tensors, bytes: size }]) => `${dtype} ${count(tensors)} (${bytes(size)})`,
    )
    print(`  ${title}: ${census.join(', ')}`)
  }
  const room =
    freeBytes === undefined ? '' : `; ${bytes(freeBytes)} free${freeBytes < outputBytes ? ': TOO LITTLE' : ''}`
  print(`  about ${bytes(peakMemoryBytes)} of memory (mode ${mode})${room}`)
  const rows = plan.decisions
    .slice(0, SHOWN_TENSORS)
    .map(({ name, dtype, outputDType, shape, inputBytes: before, outputBytes: after, reason, rule }) => [
      printable(name, 80),
      `[${shape.join(', ')}]`,
      `${dtype} -> ${outputDType}`,
      count(before),
      count(after),
      rule === undefined ? REASONS[reason] : `${reason}: ${printable(rule, 60)}`,
    ])
  print()
  for (const line of columns([['tensor', 'shape', 'dtype', 'bytes', 'bytes after', ''], ...rows], [3, 4])) print(line)
  const more = plan.decisions.length - rows.length
  if (more > 0) print(`... and ${plural(more, 'more tensor')}; --json lists all`)
}

/** What was chosen under a budget, beside the recipe that is nearest. */
function printChoice({ choice, outputBytes }: JobSummary): void {
  if (!choice) return
  const { recipe, recipeBytes, recipeKl, expectedKl } = choice
  print(`  expected KL ${expectedKl.toFixed(4)} nats a token at ${count(outputBytes)} bytes`)
  print(
    `  ${recipe} would have ${recipeKl.toFixed(4)} at ${count(recipeBytes)} bytes; both are estimates by kind of tensor`,
  )
}

async function saveTypes({ saveTypes: path }: QuantizeFlags, { choice }: JobSummary): Promise<void> {
  if (path !== undefined && choice) await writeTypes(path, choice.types)
}

function reasonLines(reasons: Partial<Record<Decision['reason'], number>>): string[] {
  return (Object.entries(REASONS) as [Decision['reason'], string][])
    .filter(([reason]) => reasons[reason] !== undefined)
    .map(([reason, text]) => `${plural(reasons[reason] ?? 0, 'tensor')} ${text}`)
}
