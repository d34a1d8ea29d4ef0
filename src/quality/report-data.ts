/**
 * What compare and a report while quantizing both tell, as JSON: figures of error for each tensor, for kinds, layers and
 * the whole model. About 1 kB a tensor. All of it is plain data.
 */
import type { DType } from '../model/dtypes.js'

export const REPORT_SCHEMA_VERSION = 1

export interface ReportData {
  readonly schemaVersion: typeof REPORT_SCHEMA_VERSION
  /** `apr-stream 0.1.0`. */
  readonly generator: string
  readonly kind: 'compare' | 'quantize'
  /** The original, and what is held against it. */
  readonly a: ReportModel
  readonly b: ReportModel
  /** Of a job: the recipe's name; absent where a rule selected tensors. */
  readonly recipe?: string
  /** What errors were weighted by, in `uw2` and `ue2`: a matrix's file, or how it was made; absent where by nothing. */
  readonly importance?: string
  /** All tensors that both have. */
  readonly total: GroupFigures
  /** Most bytes in `b` first. */
  readonly kinds: readonly KindFigures[]
  /** By layer; those of no layer are not among them. */
  readonly layers: readonly LayerFigures[]
  /** In the order of `a`'s index, or of the plan. */
  readonly tensors: readonly TensorFigures[]
  readonly onlyInA: readonly UnmatchedTensor[]
  readonly onlyInB: readonly UnmatchedTensor[]
}

export interface ReportModel {
  /** Path or URL as it was given. */
  readonly name: string
  readonly format: string
  /** Bytes of all its files. */
  readonly bytes: number
  readonly tensors: number
  /** Elements of all its tensors, and bits that one takes. */
  readonly parameters: number
  readonly bitsPerWeight: number
}

/** Sums over pairs of values, in f64: w of `a`, v of `b`, e = v - w. Pairs with NaN or infinity are left out. */
export interface ErrorSums {
  /** Pairs that were summed. */
  readonly weights: number
  /** Sums of w^2, v^2, w v and e^2. */
  readonly w2: number
  readonly v2: number
  readonly wv: number
  readonly e2: number
  /** Sums of u w^2 and u e^2; absent where there is no importance u. */
  readonly uw2?: number
  readonly ue2?: number
}

export interface ErrorFigures extends ErrorSums {
  /** sqrt(e2 / w2); null where all of `a` is zero and `b` is not. 0.07 is 7 %. */
  readonly relativeError: number | null
  /** sqrt(ue2 / uw2); absent where there is no importance. */
  readonly weightedError?: number | null
  /**
   * Signal to noise in dB: 10 log10(w2 / e2), or of uw2 and ue2 where there is importance. Null where it is no number:
   * without any error (`e2` is 0), or where all of `a` is zero.
   */
  readonly snr: number | null
  /** Null where one side is all zeros. */
  readonly cosine: number | null
}

export interface GroupFigures extends ErrorFigures {
  readonly tensors: number
  /** Bytes in `a` and in `b`. */
  readonly bytesA: number
  readonly bytesB: number
}

export interface KindFigures extends GroupFigures {
  readonly tensorKind: string
}

export interface LayerFigures extends GroupFigures {
  readonly layer: number
}

export interface UnmatchedTensor {
  readonly name: string
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Why it is not compared: `missing` in the other, of another `shape`, of a `dtype` that cannot be read as numbers. */
  readonly reason: 'missing' | 'shape' | 'dtype'
}

export interface TensorFigures extends ErrorFigures {
  /** In GGUF's words where the two have names of both sorts, else as it is in both. */
  readonly name: string
  /** `attn_q`, `ffn_down`, `token_embd`, ...: the name without its layer and its suffix; of both sorts of names the same. */
  readonly tensorKind: string
  /** Null where it is of no layer. */
  readonly layer: number | null
  /** Outermost first: rows are along the last dimension. */
  readonly shape: readonly number[]
  readonly dtypeA: DType
  readonly dtypeB: DType
  readonly bytesA: number
  readonly bytesB: number
  /** The largest |e|, and the element where it stands, counted from the tensor's first. Null where there are no pairs. */
  readonly maxError: { readonly error: number; readonly element: number; readonly w: number; readonly v: number } | null
  /**
   * Of stacked experts: the least and the greatest SNR of their matrices (dB, null: without error), and which has the least.
   */
  readonly experts?: {
    readonly count: number
    readonly minSnr: number | null
    readonly maxSnr: number | null
    readonly worst: number
  }
  /** The four rows of the least SNR, the worst first; rows without error are not among them. */
  readonly worstRows: readonly RowFigures[]
  /** Rows by SNR (not weighted): bin i has those of i to i + 1 dB; the first those below, the last those above and without error. */
  readonly rowSnr: Counts
  /** Values by magnitude, of |w| and of |e|: see `Counts`. Zeros are in none. */
  readonly magnitudes: Counts
  readonly errors: Counts
  /** Share of the weights with |w| > 8 rms, as far as the half octaves of `magnitudes` tell: those wholly above. */
  readonly outlierShare: number
  /** Blocks of `b` that lost the scale: all zero where `a` is not. Absent where `b` has no blocks. */
  readonly lostBlocks?: number
  /** Pairs of which one is NaN or infinite; absent where there are none. */
  readonly notFinite?: {
    readonly inA: number
    readonly inB: number
    /** The first of them. `w` and `v` are texts where they are not finite: JSON has no such numbers. */
    readonly element: number
    readonly w: number | string
    readonly v: number | string
  }
  /** Of a job: why this dtype. */
  readonly decision?: {
    readonly action: 'quantize' | 'keep'
    readonly reason: string
    /** What decided, in a few words. */
    readonly rule?: string
  }
  /** Estimate of what it adds to the KL divergence, in nats a token; absent where nothing is known of its kind. */
  readonly predictedKl?: number
}

export interface RowFigures {
  /** Counted from the tensor's first row, through all of its matrices. */
  readonly row: number
  /** Both null where the row of `a` is all zero, and that of `b` is not. */
  readonly snr: number | null
  /** sqrt(e2 / w2). */
  readonly relativeError: number | null
}

/**
 * Counts of consecutive bins, without those of zero at both ends: `counts[i]` is bin `first + i`. Of magnitudes a bin is
 * half an octave: bin = bits of the f32 above the 22 lowest, so its lower edge is `binEdge(bin)`. At the most 64 bins: the
 * lowest has those below, too.
 */
export interface Counts {
  readonly first: number
  readonly counts: readonly number[]
}

/** The lower edge of a bin of magnitudes: 2^n, or 1.5 * 2^n. */
export function binEdge(bin: number): number {
  const exponent = bin >> 1
  const half = bin & 1
  return exponent === 0 ? half * 2 ** -127 : (1 + half / 2) * 2 ** (exponent - 127)
}
