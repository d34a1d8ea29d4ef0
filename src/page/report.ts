/** The report's data, and what is told of it in more than one view. */
import type { ErrorSums, ReportData, TensorFigures } from '../quality/report-data.js'

export function readReport(): ReportData {
  return JSON.parse(document.getElementById('report')?.textContent ?? '') as ReportData
}

/** Whether errors are weighted by importance. */
export const isWeighted = (report: ReportData): boolean => report.total.ue2 !== undefined

/** What is not as it should be: it is shown first, and can be filtered for. */
export function problemsOf(tensor: TensorFigures): string[] {
  const { notFinite, lostBlocks = 0, decision } = tensor
  const problems: string[] = []
  if (notFinite !== undefined) {
    problems.push(`${notFinite.inA + notFinite.inB} values are NaN or infinite`)
  }
  if (lostBlocks > 0) problems.push(`${lostBlocks} ${lostBlocks === 1 ? 'block' : 'blocks'} lost the scale: all zero`)
  if (decision?.reason === 'fallback') problems.push(decision.rule ?? 'its rows fit no better type')
  const usual = USUAL_SNR[tensor.dtypeB]
  const { snr } = tensor
  if (usual !== undefined && snr !== null && snr < usual - BADLY && tensor.dtypeA !== tensor.dtypeB) {
    problems.push(`${(usual - snr).toFixed(1)} dB worse than usual for ${tensor.dtypeB}`)
  }
  return problems
}

/** So much below the usual is bad for the type, in dB: half as much error again. */
const BADLY = 3.5

/**
 * Signal to noise of normally distributed weights in dB, by type, with the searching fit: what a type gives where nothing
 * is wrong with a tensor. Measured on 2^18 numbers.
 */
export const USUAL_SNR: Readonly<Record<string, number>> = {
  ...{ Q2_K: 10.6, Q3_K: 16.5, Q4_K: 23, Q5_K: 28.9, Q6_K: 35, Q8_0: 45.4, IQ4_NL: 22.4, IQ4_XS: 22.3 },
  ...{ Q4_0: 21.3, Q4_1: 22.2, Q5_0: 27.4, Q5_1: 28.5 },
}

/** The sums of several tensors together. */
export function addSums(tensors: readonly ErrorSums[]): { w2: number; e2: number; uw2: number; ue2: number } {
  const sums = { w2: 0, e2: 0, uw2: 0, ue2: 0 }
  for (const { w2, e2, uw2 = w2, ue2 = e2 } of tensors) {
    sums.w2 += w2
    sums.e2 += e2
    sums.uw2 += uw2
    sums.ue2 += ue2
  }
  return sums
}

/** dB of what was summed; null without error. */
export function snrOf(tensors: readonly ErrorSums[]): number | null {
  const { uw2, ue2 } = addSums(tensors)
  return ue2 === 0 || uw2 === 0 ? null : 10 * Math.log10(uw2 / ue2)
}

/** Root mean square of its weights. */
export const rmsOf = ({ w2, weights }: ErrorSums): number => Math.sqrt(w2 / Math.max(1, weights))

/** The tensor that is looked at, which any view may change. */
export class Selection {
  readonly #listeners: ((tensor: TensorFigures | undefined) => void)[] = []
  tensor: TensorFigures | undefined

  listen(listener: (tensor: TensorFigures | undefined) => void): void {
    this.#listeners.push(listener)
  }

  choose(tensor: TensorFigures | undefined): void {
    if (tensor === this.tensor) return
    this.tensor = tensor
    for (const listener of this.#listeners) listener(tensor)
  }
}
