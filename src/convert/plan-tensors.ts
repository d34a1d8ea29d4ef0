/**
 * Which tensors are written, in the reference converter's order, and what each is made of. All that does not fit is found
 * here, before anything is written.
 */
import { AprError, printable } from '../model/errors.js'
import { elementCount, tensorBytes, type TensorInfo } from '../model/tensor.js'
import type { TensorPart } from './architectures/architecture.js'
import type { FoundConfig } from './config/read-config.js'
import { ExpertStacks } from './expert-stacks.js'
import type { HfModel, Outtype } from './hf-model.js'
import { firstKvs, hparamKvs } from './hparams.js'
import { packedKind } from './packed.js'
import { isDropped, isOfText, plainName } from './source-names.js'
import type { Piece, TargetTensor } from './tensor-plan.js'

/** Dtypes that a source may have. */
const SOURCES: readonly string[] = ['F32', 'F16', 'BF16']
const FILE_TYPES = { F32: 0, F16: 1, BF16: 32 } as const
/** Names that an error lists at the most. */
const MAX_LISTED = 20
/** Names that are looked for at the most, where config.json speaks of many layers that are not there. */
const MAX_WANTED = 100_000

export interface TensorPlan {
  /** Of the matrices. */
  readonly outtype: keyof typeof FILE_TYPES
  /** `general.file_type`. */
  readonly fileType: number
  readonly tensors: readonly TargetTensor[]
  /** Names of sources that nothing is made of. */
  readonly dropped: readonly string[]
}

/**
 * @throws AprError `APR_BAD_METADATA` that lists the keys that config.json lacks; `APR_UNSUPPORTED` or `APR_BAD_INDEX` that
 * lists every tensor that has no name in GGUF, is missing or is of another shape
 */
export function planTensors(found: FoundConfig, hf: HfModel, outtype: Outtype): TensorPlan {
  const sources = hf.tensors.filter(({ name }) => isOfText(name))
  const resolved = resolveOuttype(sources, outtype, hf.fromFp8)
  const fileType = FILE_TYPES[resolved]
  // Without all keys nothing below tells what is really wrong.
  firstKvs(found)
  hparamKvs(found, fileType)
  const planner = new Planner(found, hf, resolved)
  for (const tensor of sources) planner.take(tensor)
  const { tensors, dropped } = planner.finish()
  const others = hf.tensors.filter(({ name }) => !isOfText(name)).map(({ name }) => name)
  return { outtype: resolved, fileType, tensors, dropped: [...others, ...dropped] }
}

/** The dtype of the first BF16 or F16 tensor that has rows, as it is stored; where there is none F16. */
function resolveOuttype(
  tensors: readonly TensorInfo[],
  outtype: Outtype,
  fromFp8: HfModel['fromFp8'],
): TensorPlan['outtype'] {
  if (outtype !== 'auto') return ({ f32: 'F32', f16: 'F16', bf16: 'BF16' } as const)[outtype]
  const first = tensors.find(
    ({ name, dtype, shape }) => shape.length >= 2 && (dtype === 'BF16' || dtype === 'F16') && !fromFp8?.has(name),
  )
  return first?.dtype === 'BF16' ? 'BF16' : 'F16'
}

class Planner {
  readonly #found: FoundConfig
  readonly #hf: HfModel
  readonly #outtype: TensorPlan['outtype']
  readonly #isHeadless: boolean
  readonly #layers: number
  readonly #stacks: ExpertStacks | undefined
  readonly #tensors: TargetTensor[] = []
  readonly #names = new Set<string>()
  readonly #dropped: string[] = []
  readonly #unmapped: string[] = []
  readonly #misfits: string[] = []

  constructor(found: FoundConfig, hf: HfModel, outtype: TensorPlan['outtype']) {
    const { architecture, config, modelClass } = found
    this.#found = found
    this.#hf = hf
    this.#outtype = outtype
    this.#isHeadless = modelClass.endsWith('Model')
    this.#layers = config.count('num_hidden_layers')
    const { experts } = architecture
    const count = experts?.count(config) ?? 0
    if (experts && count > 0) this.#stacks = new ExpertStacks(experts, count)
    for (const { name, values } of architecture.made?.(config) ?? []) this.#push(name, [values.length], [], values)
  }

  take(source: TensorInfo): void {
    const { architecture, config } = this.#found
    const name = plainName(source.name, this.#isHeadless)
    if (isDropped(name) || architecture.drops?.(name, config)) {
      this.#dropped.push(source.name)
      return
    }
    if (!SOURCES.includes(source.dtype)) {
      this.#unmapped.push(`${source.name} (${source.dtype})`)
      return
    }
    const stacked = this.#stacks?.take(name, source)
    if (stacked === 'waits') return
    if (stacked) {
      for (const { name: kind, shape, pieces } of stacked) this.#place(kind, shape, pieces, source)
      return
    }
    const [, stem = name, suffix = ''] = /^(.*?)(\.weight|\.bias)?$/.exec(name) ?? []
    const parts = suffix === '.bias' ? undefined : architecture.parts?.(stem, source, config)
    if (parts === 'misfit') this.#misfit(source)
    else if (parts) this.#placeParts(parts, source)
    else this.#placeWhole(stem, suffix, source)
  }

  #placeParts(parts: readonly TensorPart[], source: TensorInfo): void {
    for (const { name, shape, runs, order } of parts) {
      let to = 0
      const pieces = runs.map(({ from, elements }): Piece => {
        const piece = { source: source.name, from, elements, to, order }
        to += elements
        return piece
      })
      this.#place(`${name}.weight`, shape, pieces, source)
    }
  }

  #placeWhole(stem: string, suffix: string, source: TensorInfo): void {
    const { architecture, config } = this.#found
    const rows = stem === 'model.embed_tokens' ? architecture.embeddingRows?.(this.#hf.files) : undefined
    const [all = 0, ...rest] = source.shape
    const shape = rows === undefined ? source.shape : [Math.min(rows, all), ...rest]
    const order = architecture.order?.(stem, source, config)
    if (order && (!Number.isInteger(order.rows) || order.rows === 0 || order.rows % 2 !== 0)) {
      this.#misfits.push(`${source.name} [${source.shape.join(', ')}] for heads of ${order.rows} rows`)
      return
    }
    const add = architecture.add?.(stem)
    const piece = { source: source.name, from: 0, elements: elementCount(shape), to: 0, order, add }
    // Stacked experts are parameters of their own, whose names have no suffix.
    const isStack = suffix === '' && stem.includes('.experts.')
    this.#place(isStack ? `${stem}.weight` : `${stem}${suffix}`, shape, [piece], source)
  }

  #misfit({ name, shape }: TensorInfo): void {
    this.#misfits.push(`${name} [${shape.join(', ')}]`)
  }

  /** @param name as the table has it, with its suffix */
  #place(name: string, shape: readonly number[], pieces: readonly Piece[], source: TensorInfo): void {
    const target = this.#nameOf(name)
    if (target === undefined) this.#unmapped.push(source.name)
    else if (this.#names.has(target)) this.#misfits.push(`${source.name}, of which ${target} is there already`)
    else this.#push(target, shape, pieces)
  }

  #push(name: string, shape: readonly number[], pieces: readonly Piece[], made?: Float32Array): void {
    const isF32 =
      shape.length <= 1 ||
      name.endsWith('_norm.weight') ||
      name.endsWith('.ffn_gate_inp.weight') ||
      !name.endsWith('.weight')
    const dtype = isF32 ? 'F32' : this.#outtype
    const fromFp8 = dtype === 'BF16' ? undefined : pieces.find(({ source }) => this.#hf.fromFp8?.has(source))
    if (fromFp8) throw roundedBefore(fromFp8.source, dtype)
    const tensor = Object.freeze({ name, dtype, shape: Object.freeze([...shape]), size: tensorBytes(dtype, shape) })
    this.#names.add(name)
    this.#tensors.push({ tensor, pieces, made })
  }

  #nameOf(name: string): string | undefined {
    const [, stem = '', suffix = ''] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? []
    const [, before = '', layer, behind = ''] = /^(model\.layers\.)(0|[1-9]\d*)(\..*)$/.exec(stem) ?? []
    const key = layer === undefined ? stem : `${before}N${behind}`
    const { tensors } = this.#found.architecture
    if (!Object.hasOwn(tensors, key) || Number(layer ?? 0) >= this.#layers) return undefined
    return `${(tensors[key] ?? '').replace('N', layer ?? '')}${suffix}`
  }

  /** @throws AprError with all that does not fit */
  finish(): { tensors: readonly TargetTensor[]; dropped: readonly string[] } {
    const kind = packedKind(this.#hf, this.#unmapped)
    const misfits = [...this.#misfits, ...(this.#stacks?.misfits ?? [])]
    // A packed checkpoint lacks what it has in other forms.
    const missing = kind === undefined ? [...(this.#stacks?.unfinished() ?? []), ...this.#missing()] : []
    const { name } = this.#found.architecture
    const problems: string[] = []
    if (this.#unmapped.length > 0) problems.push(`no name in GGUF for ${listed(this.#unmapped)}`)
    if (kind !== undefined) problems.push(`this is a checkpoint of ${kind}, which cannot be converted`)
    if (missing.length > 0) problems.push(`none for ${listed(missing)}`)
    if (misfits.length > 0) problems.push(`others than config.json tells of: ${listed(misfits)}`)
    if (problems.length === 0) return { tensors: this.#tensors, dropped: this.#dropped }
    const what = `expected the tensors of ${this.#layers} layers of ${name}, found ${problems.join('; ')}`
    throw new AprError(this.#unmapped.length > 0 ? 'APR_UNSUPPORTED' : 'APR_BAD_INDEX', what)
  }

  #missing(): string[] {
    const { architecture, config } = this.#found
    const wanted = ['token_embd', 'output_norm']
    for (let layer = 0; layer < this.#layers && wanted.length < MAX_WANTED; layer++) {
      wanted.push(...architecture.required(config, layer).map((name) => `blk.${layer}.${name}`))
    }
    if (!this.#isHeadless && config.values['tie_word_embeddings'] === false) wanted.push('output')
    return wanted.map((name) => `${name}.weight`).filter((name) => !this.#names.has(name))
  }
}

/** What was rounded to BF16 is no longer what the reference converter makes another dtype of. */
function roundedBefore(tensor: string, dtype: string): AprError {
  const what = `expected weights that are stored in FP8 to become BF16, or to be read as F32, found ${dtype} to be made of them as BF16: convert with outtype bf16; or with f32 or f16, for which the function convert and the command read F32`
  return new AprError('APR_UNSUPPORTED', what, { tensor })
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_LISTED).map((name) => printable(name))
  const more = names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : ''
  return `${names.length}: ${shown.join(', ')}${more}`
}
