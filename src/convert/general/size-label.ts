/** How large a model calls itself: `8B`, `8x1.1B`. */
import { elementCount, type TensorInfo } from '../../model/tensor.js'

/** Parameters of all tensors that are written, GGUF's names and shapes. */
export interface ParameterCounts {
  readonly total: number
  /** Of all tensors but the experts'. */
  readonly shared: number
  /** Of one expert in every stacked tensor. */
  readonly expert: number
  /** Experts a stacked tensor, on average; 0 where there are none. */
  readonly expertCount: number
}

/** Counts as llama.cpp's gguf-py does. */
export function parameterCounts(tensors: readonly TensorInfo[]): ParameterCounts {
  const counts = { total: 0, shared: 0, expert: 0 }
  let stacked = 0
  let experts = 0
  for (const { name, shape } of tensors) {
    const elements = elementCount(shape)
    counts.total += elements
    const stack = name.includes('_exps.') && shape.length >= 3 ? shape.at(name.includes('.bias') ? -2 : -3) : undefined
    if (stack === undefined || stack === 0) {
      counts.shared += elements
    } else {
      counts.expert += Math.floor(elements / stack)
      experts += stack
      stacked++
    }
  }
  return { ...counts, expertCount: stacked > 0 ? Math.floor(experts / stacked) : 0 }
}

/** The label: of a mixture of experts their number, and the parameters that a model with one of them would have. */
export function sizeLabel({ total, shared, expert, expertCount }: ParameterCounts): string {
  return expertCount > 0 ? `${expertCount}x${rounded(shared + expert)}` : rounded(total)
}

/** Two digits at least, and no more behind the point than these need. */
function rounded(parameters: number): string {
  const [scale, suffix] =
    parameters > 1e12 ? [1e-12, 'T'] : parameters > 1e9 ? [1e-9, 'B'] : parameters > 1e6 ? [1e-6, 'M'] : [1e-3, 'K']
  const scaled = parameters * scale
  const digits = fixed(scaled, 0).replace(/^0+/u, '').length
  return fixed(scaled, Math.max(2 - digits, 0)) + suffix
}

/** Like toFixed, but a value right between two goes to the even one, as in Python. */
function fixed(value: number, digits: number): string {
  const unit = 10 ** digits
  // Only a multiple of 1/8 can be right between two values of at most two digits.
  const isTie = Number.isInteger(value * 8) && (value * unit) % 1 === 0.5
  const below = Math.floor(value * unit)
  return isTie ? ((below % 2 === 0 ? below : below + 1) / unit).toFixed(digits) : value.toFixed(digits)
}
