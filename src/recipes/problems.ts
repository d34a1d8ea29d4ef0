/** All that keeps a recipe from being made of a model: people mend it at once, not one thing after the other. */
import { BLOCK_DTYPES } from '../quant/block.js'
import { isFloat } from '../quant/policy.js'
import { DTYPES, type DType } from '../model/dtypes.js'
import { AprError, printable } from '../model/errors.js'
import type { TensorInfo } from '../model/tensor.js'
import { categoryOf, rankOf } from './categories.js'
import type { TargetDType } from './names.js'
import type { RecipeSettings } from './settings.js'

/** Names that an error lists at the most. */
const MAX_LISTED = 20

const DECODED: readonly string[] = BLOCK_DTYPES

export class RecipeProblems {
  readonly #settings: RecipeSettings
  readonly #found = new Map<string, string[]>()

  constructor(settings: RecipeSettings) {
    this.#settings = settings
  }

  /** A tensor whose name the rules cannot read. */
  nameless(tensor: TensorInfo, problem: string): void {
    this.#add('whose layer cannot be told', tensor, problem)
  }

  /** A tensor that does not fit `wanted`. */
  misfit(tensor: TensorInfo, wanted: TargetDType, isFixed: boolean): void {
    const detail = `rows of ${tensor.shape.at(-1) ?? 1} for ${wanted}`
    if (isFixed) this.#add('whose rows are not whole blocks of the dtype asked for', tensor, detail)
    else if (this.#settings.fallback === false) this.#add('whose rows are not whole blocks', tensor, detail)
  }

  /** A tensor that gets `dtype`. */
  decided(tensor: TensorInfo, dtype: TargetDType, ggufName: string): void {
    const isChanged = dtype !== tensor.dtype
    if (isChanged) this.#converted(tensor)
    const { name, hasImportance } = this.#settings
    const category = categoryOf(ggufName)
    if (name !== 'Q2_K_S' || dtype !== 'Q2_K' || category === 'token_embd' || category === 'output') return
    const isLacking = hasImportance ? isChanged && !hasImportance(ggufName) : true
    if (isLacking) this.#add('that an importance matrix must tell of for Q2_K_S', tensor)
  }

  /** A tensor that has to be of `dtype`, which the output cannot hold. */
  unheld(tensor: TensorInfo, dtype: DType): void {
    this.#add('of dtypes that the output cannot hold', tensor, dtype)
  }

  #converted(tensor: TensorInfo): void {
    const { dtype, shape } = tensor
    if (rankOf(shape) > 3) this.#add('of more than three dimensions', tensor, `[${shape.join(', ')}]`)
    const isQuantized = DTYPES[dtype].kind === 'quantized'
    if (!isFloat(dtype) && !DECODED.includes(dtype)) {
      this.#add('whose values cannot be read', tensor, dtype)
    } else if (isQuantized && this.#settings.allowRequantize !== true) {
      this.#add('quantized already, which only `allowRequantize` quantizes again', tensor, dtype)
    }
  }

  #add(kind: string, { name }: TensorInfo, detail?: string): void {
    const names = this.#found.get(kind) ?? []
    this.#found.set(kind, names)
    names.push(printable(name) + (detail === undefined ? '' : ` (${detail})`))
  }

  /** @throws AprError `APR_UNSUPPORTED` with all of them */
  check(): void {
    if (this.#found.size === 0) return
    const found = Array.from(this.#found, ([kind, names]) => `${names.length} ${kind}: ${listed(names)}`)
    const what = `expected tensors that ${this.#settings.name} can be made of, found ${found.join('; ')}`
    throw new AprError('APR_UNSUPPORTED', what)
  }
}

function listed(names: readonly string[]): string {
  const rest = names.length - MAX_LISTED
  return names.slice(0, MAX_LISTED).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}
