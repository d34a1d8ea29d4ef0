import type { ReportData } from './report-data.js'

/** Digits of a number: more than anyone sees, fewer than f64 has. */
const DIGITS = 10

/** A report as JSON, a line for each tensor. */
export function reportJson({ tensors, ...rest }: ReportData): string {
  const head = JSON.stringify(rest, rounded)
  const lines = tensors.map((tensor) => JSON.stringify(tensor, rounded))
  return `${head.slice(0, -1)},"tensors":[\n${lines.join(',\n')}\n]}\n`
}

function rounded(_: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isInteger(value)) return value
  return Number(value.toPrecision(DIGITS))
}
