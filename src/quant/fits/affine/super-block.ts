/** The fits of Q4_K, Q5_K and Q2_K: scales and mins of sub-blocks, then those of the super-block, then the values. */
import type { FitBlock } from '../../block.js'
import { f16ToF32, f32ToF16 } from '../../float.js'
import { packQ2K, unpackQ2KScale } from '../../blocks/q2k.js'
import { packQ4K } from '../../blocks/q4k.js'
import { packQ5K } from '../../blocks/q5k.js'
import { unpackScale, type AffineBlock, type UnpackedScale } from '../../blocks/six-bit-scales.js'
import { sumOfSquares, weigh } from '../importance.js'
import { round, roundBetween } from '../round.js'
import { fitAffine, numerators, weightedSearch, type AffineSearch } from './search.js'
import { fitScales } from './scales.js'

const { fround } = Math

const SUPER_BLOCK_ELEMENTS = 256

/** What the types differ in. */
interface AffineType {
  readonly subBlockElements: number
  readonly search: AffineSearch
  /** How errors count without importance: one weight a value of a sub-block. */
  readonly weighPlain: (x: Float32Array, weights: Float32Array) => void
  /** With importance a weight has in it this many times the super-block's mean square. */
  readonly meanSquares: number
  /** The greatest scale and min, and whether bytes above it are cut to it: without importance, and with. */
  readonly maxScale: number
  readonly isCapped: { readonly plain: boolean; readonly weighted: boolean }
  readonly pack: (block: AffineBlock, target: Uint8Array, start: number) => void
  /** Scale and min of sub-block `j` as they are read back. */
  readonly unpackScale: (bytes: Uint8Array, start: number, j: number) => UnpackedScale
}

const weights = new Float32Array(SUPER_BLOCK_ELEMENTS)
const levels = new Uint8Array(SUPER_BLOCK_ELEMENTS)

function createFit(type: AffineType): FitBlock {
  const { subBlockElements, search, maxScale, isCapped, pack } = type
  const subBlocks = SUPER_BLOCK_ELEMENTS / subBlockElements
  const withImportance = weightedSearch(search.maxValue)
  const fits = { scales: new Float32Array(subBlocks), mins: new Float32Array(subBlocks) }
  const codes = { scales: new Uint8Array(subBlocks), mins: new Uint8Array(subBlocks) }
  const sumsW = new Float32Array(subBlocks)

  return (x, target, start, weighting) => {
    if (weighting) {
      const meanSquare = fround(fround(type.meanSquares * sumOfSquares(x)) / x.length)
      weigh(x, weighting.importance, meanSquare, weights)
    }
    for (let j = 0; j < subBlocks; j++) {
      const part = <T extends Float32Array | Uint8Array>(whole: T): T =>
        whole.subarray(j * subBlockElements, (j + 1) * subBlockElements) as T
      if (!weighting) type.weighPlain(part(x), part(weights))
      const fit = fitAffine(part(x), part(weights), weighting ? withImportance : search, part(levels))
      fits.scales[j] = fit.scale
      fits.mins[j] = fit.min
      if (weighting) sumsW[j] = part(weights).reduce((sum, w) => fround(sum + w), 0)
    }

    const common = (values: Float32Array, result: Uint8Array): number => {
      const factor = weighting ? fitScales(values, sumsW, maxScale, result) : spreadScales(values, maxScale, result)
      if (weighting ? isCapped.weighted : isCapped.plain) {
        for (let j = 0; j < subBlocks; j++) result[j] = Math.min(maxScale, result[j] ?? 0)
      }
      return f32ToF16(factor)
    }
    const d = common(fits.scales, codes.scales)
    const dmin = common(fits.mins, codes.mins)
    const block = { d, dmin, ...codes, values: levels }
    pack(block, target, start)

    // Every value is chosen again with the scale as it will be decoded, except where that is 0.
    for (let j = 0; j < subBlocks; j++) {
      const { scale, min } = type.unpackScale(target, start, j)
      const step = fround(f16ToF32(d) * scale)
      if (step === 0) continue
      const low = fround(f16ToF32(dmin) * min)
      for (let i = j * subBlockElements; i < (j + 1) * subBlockElements; i++) {
        levels[i] = roundBetween(fround(fround((x[i] ?? 0) + low) / step), 0, search.maxValue)
      }
    }
    pack(block, target, start)
  }
}

/** Whole numbers up to `maxScale` for the greatest value; their low bytes are kept. Returns the common factor. */
function spreadScales(values: Float32Array, maxScale: number, codes: Uint8Array): number {
  let max = 0
  for (const v of values) if (v > max) max = v
  const inverse = max > 0 ? fround(maxScale / max) : 0
  values.forEach((v, j) => (codes[j] = round(fround(inverse * v))))
  return fround(max / maxScale)
}

/** `average + |x|`, the average being the root mean square. */
function weighAroundAverage(x: Float32Array, w: Float32Array): void {
  const average = fround(Math.sqrt(fround(sumOfSquares(x) / x.length)))
  x.forEach((v, i) => (w[i] = average + Math.abs(v)))
}

const SIX_BITS = {
  subBlockElements: 32,
  weighPlain: weighAroundAverage,
  meanSquares: 2,
  maxScale: 63,
  unpackScale,
} as const

/** Fits a Q4_K super-block. With importance, a scale's byte above 63 is packed as it is. */
export const fitQ4K = createFit({
  ...SIX_BITS,
  search: { maxValue: 15, numerators: numerators(-1, 0.1, 21, 15), isAbsolute: false },
  isCapped: { plain: true, weighted: false },
  pack: packQ4K,
})

export const fitQ5K = createFit({
  ...SIX_BITS,
  search: { maxValue: 31, numerators: numerators(-0.5, 0.1, 16, 31), isAbsolute: false },
  isCapped: { plain: true, weighted: true },
  pack: packQ5K,
})

export const fitQ2K = createFit({
  subBlockElements: 16,
  search: { maxValue: 3, numerators: numerators(-0.5, 0.1, 16, 3), isAbsolute: true },
  weighPlain: (x, w) => x.forEach((v, i) => (w[i] = Math.abs(v))),
  meanSquares: 1,
  maxScale: 15,
  isCapped: { plain: false, weighted: false },
  pack: packQ2K,
  unpackScale: unpackQ2KScale,
})
