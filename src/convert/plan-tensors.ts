/**
 * Which tensors are written, in the reference converter's order, and what each is made of. All that does not fit is found
 * here, before anything is written.
 */
import type { DType } from '../model/dtypes.js'
import { AprError, printable } from '../model/errors.js'
import { elementCount, tensorBytes, type TensorInfo } from '../model/tensor.js'
import type { HfModel, Outtype } from './hf-model.js'
import { ExpertStacks } from './expert-stacks.js'
import { packedKind } from './packed.js'
import type { FoundConfig } from './read-config.js'
import type { Piece, TargetTensor } from './tensor-plan.js'

/** Dtypes that a source may have. */
const SOURCES: readonly DType[] = ['F32', 'F16', 'BF16']
const DROPPED = /\.(attention\.masked_bias|attention\.bias|rotary_emb\.inv_freq)$/
/** Names that an error lists at the most. */
const MAX_LISTED = 20

export interface TensorPlan {
  /** Of the matrices. */
  readonly outtype: 'F32' | 'F16' | 'BF16'
  /** `general.file_type`. */
  readonly fileType: number
  readonly tensors: readonly TargetTensor[]
  /** Names of sources that nothing is made of. */
  readonly dropped: readonly string[]
}

const FILE_TYPES = { F32: 0, F16: 1, BF16: 32 } as const

/** @throws AprError `APR_UNSUPPORTED` or `APR_BAD_INDEX` that lists every tensor that has no name, is missing or has another shape */
export function planTensors(found: FoundConfig, hf: HfModel, outtype: Outtype): TensorPlan {
  const resolved = resolveOuttype(hf.tensors, outtype)
  const planner = new Planner(found, hf, resolved)
  for (const tensor of hf.tensors) planner.take(tensor)
  const { tensors, dropped } = planner.finish()
  return { outtype: resolved, fileType: FILE_TYPES[resolved], tensors, dropped }
}

/** The dtype of the first BF16 or F16 tensor that has rows; where there is none F16. */
function resolveOuttype(tensors: readonly TensorInfo[], outtype: Outtype): 'F32' | 'F16' | 'BF16' {
  if (outtype !== 'auto') return ({ f32: 'F32', f16: 'F16', bf16: 'BF16' } as const)[outtype]
  const first = tensors.find(({ dtype, shape }) => shape.length >= 2 && (dtype === 'BF16' || dtype === 'F16'))
  return first?.dtype === 'BF16' ? 'BF16' : 'F16'
}

class Planner {
  readonly #found: FoundConfig
  readonly #hf: HfModel
  readonly #outtype: DType
  readonly #stacks: ExpertStacks | undefined
  readonly #tensors: TargetTensor[] = []
  readonly #names = new Set<string>()
  readonly #dropped: string[] = []
  readonly #unmapped: string[] = []
  readonly #wrong: string[] = []
  readonly #layers: number

  constructor(found: FoundConfig, hf: HfModel, outtype: DType) {
    const { architecture, config } = found
    this.#found = found
    this.#hf = hf
    this.#outtype = outtype
    this.#layers = config.number('num_hidden_layers')
    const { experts } = architecture
    const count = experts?.count(config) ?? 0
    if (experts && count > 0) this.#stacks = new ExpertStacks(experts, count)
    for (const { name, values } of architecture.made?.(config) ?? []) {
      this.#push(name, [values.length], [], { made: values })
    }
  }

  take(source: TensorInfo): void {
    const { architecture, config, modelClass } = this.#found
    const name = modelClass.endsWith('Model') ? `model.${source.name}` : source.name
    if (DROPPED.test(name) || architecture.drops?.(name, config)) {
      this.#dropped.push(source.name)
      return
    }
    const stacked = this.#stacks?.take(name, source)
    if (stacked === 'waits') return
    if (stacked) {
      for (const { name: stackName, shape, pieces } of stacked) this.#place(stackName, shape, pieces, source)
      return
    }
    const [, stem = name, suffix = ''] = /^(.*?)(\.weight|\.bias)?$/.exec(name) ?? []
    const parts = architecture.parts?.(stem, source, config)
    if (parts) {
      for (const { name: part, shape, runs, order } of parts) {
        let to = 0
        const pieces = runs.map(({ from, elements }): Piece => {
          const piece = { source: source.name, from, elements, to, order }
          to += elements
          return piece
        })
        this.#place(`${part}.weight`, shape, pieces, source)
      }
      return
    }
    const isStack = stem.includes('.experts.') && suffix === ''
    const order = architecture.order?.(stem, source, config)
    const add = architecture.add?.(stem)
    const rows = stem === 'model.embed_tokens' ? architecture.embeddingRows?.(this.#hf.files) : undefined
    const shape = rows === undefined ? source.shape : [Math.min(rows, source.shape[0] ?? 0), ...source.shape.slice(1)]
    const piece = { source: source.name, from: 0, elements: elementCount(shape), to: 0, order, add }
    this.#place(isStack ? `${stem}.weight` : name, shape, [piece], source)
  }

  /** @param name as the table has it, with its suffix */
  #place(name: string, shape: readonly number[], pieces: readonly Piece[], source: TensorInfo): void {
    const target = this.#nameOf(name)
    if (target === undefined) {
      this.#unmapped.push(source.name)
      return
    }
    if (!SOURCES.includes(source.dtype)) {
      this.#unmapped.push(`${source.name} (${source.dtype})`)
      return
    }
    const bad = pieces.find(({ order }) => order && !isWhole(order.rows, order.kind))
    if (bad?.order) {
      const { rows } = bad.order
      this.#wrong.push(`${source.name} [${source.shape.join(', ')}], whose heads would have ${rows} rows`)
      return
    }
    this.#push(target, shape, pieces)
  }

  #push(name: string, shape: readonly number[], pieces: readonly Piece[], made?: { made: Float32Array }): void {
    const isF32 =
      shape.length <= 1 ||
      name.endsWith('_norm.weight') ||
      name.endsWith('.ffn_gate_inp.weight') ||
      !name.endsWith('.weight')
    const dtype = isF32 ? 'F32' : this.#outtype
    const tensor = Object.freeze({ name, dtype, shape: Object.freeze([...shape]), size: tensorBytes(dtype, shape) })
    this.#names.add(name)
    this.#tensors.push({ tensor, pieces, ...made })
  }

  #nameOf(name: string): string | undefined {
    const [, stem = '', suffix = ''] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? []
    const [, before = '', layer, behind = ''] = /^(model\.layers\.)(\d+)(\..*)$/.exec(stem) ?? []
    const key = layer === undefined ? stem : `${before}N${behind}`
    const { tensors } = this.#found.architecture
    if (!Object.hasOwn(tensors, key) || Number(layer ?? 0) >= this.#layers) return undefined
    return `${(tensors[key] ?? '').replace('N', layer ?? '')}${suffix}`
  }

  /** @throws AprError with all that does not fit */
  finish(): { tensors: readonly TargetTensor[]; dropped: readonly string[] } {
    const unfinished = this.#stacks?.unfinished() ?? []
    if (this.#unmapped.length > 0) throw this.#unmappedError()
    this.#found.config.checkComplete()
    const missing = [...unfinished, ...this.#missing()]
    if (missing.length > 0) {
      const what = `expected all tensors of ${this.#layers} layers of ${this.#found.architecture.name}, found none for ${listed(missing)}`
      throw new AprError('APR_BAD_INDEX', what)
    }
    if (this.#wrong.length > 0) {
      throw new AprError('APR_BAD_INDEX', `expected tensors whose shapes fit config.json, found ${listed(this.#wrong)}`)
    }
    return { tensors: this.#tensors, dropped: this.#dropped }
  }

  #missing(): string[] {
    const { architecture, config } = this.#found
    const wanted = ['token_embd', 'output_norm']
    for (let layer = 0; layer < this.#layers; layer++) {
      wanted.push(...architecture.required(config, layer).map((name) => `blk.${layer}.${name}`))
      // Enough for a message, where config.json speaks of many layers that are not there.
      if (wanted.length > 100_000) break
    }
    return wanted.map((name) => `${name}.weight`).filter((name) => !this.#names.has(name))
  }

  #unmappedError(): AprError {
    const kind = packedKind(this.#hf, this.#unmapped)
    const why = kind === undefined ? '' : `; this is a checkpoint of ${kind}, which cannot be converted`
    const what = `expected tensors that have a name in GGUF as ${this.#found.architecture.name}, found ${listed(this.#unmapped)}${why}`
    return new AprError('APR_UNSUPPORTED', what)
  }
}

function isWhole(rows: number, kind: string): boolean {
  return Number.isInteger(rows) && rows > 0 && (kind !== 'rope' || rows % 2 === 0)
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_LISTED).map((name) => printable(name))
  const more = names.length > MAX_LISTED ? ` and ${names.length - MAX_LISTED} more` : ''
  return `${names.length}: ${shown.join(', ')}${more}`
}
