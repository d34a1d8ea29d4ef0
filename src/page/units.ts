/** Numbers with their units, as they stand on the page. */

const NUMBER = new Intl.NumberFormat('en')

export const count = (value: number): string => NUMBER.format(value)

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`
}

/** Decimal: 4,920,736,928 is 4.92 GB. */
export function bytes(value: number): string {
  return value < 1000 ? `${value} B` : scaled(value, ['B', 'kB', 'MB', 'GB', 'TB', 'PB'])
}

/** 8,030,000,000 is 8.03 B. */
export function many(value: number): string {
  return value < 1000 ? String(value) : scaled(value, ['', 'k', 'M', 'B', 'T'])
}

function scaled(value: number, units: readonly string[]): string {
  let rest = value
  let unit = 0
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000
    unit++
  }
  return `${rest >= 99.95 ? rest.toFixed(0) : rest.toPrecision(3)} ${units[unit] ?? ''}`
}

/** A share or a relative error: 0.0721 is 7.21 %. */
export function percent(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–'
  const hundred = value * 100
  if (hundred === 0) return '0 %'
  if (hundred < 0.001) return '< 0.001 %'
  if (hundred < 0.1) return `${hundred.toFixed(3)} %`
  return `${hundred >= 99.95 ? hundred.toFixed(0) : hundred.toPrecision(3)} %`
}

export function decibels(value: number | null): string {
  return value === null ? 'exact' : `${value.toFixed(1)} dB`
}

export function kl(value: number): string {
  return `${value === 0 ? '0' : value < 0.001 ? value.toExponential(1) : value.toPrecision(3)} nats`
}

export function plain(value: number): string {
  if (value === 0) return '0'
  return Math.abs(value) < 0.001 || Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toPrecision(3)
}

/** 4096 x 14336: outermost first, as in the files' own words. */
export const shape = (dimensions: readonly number[]): string =>
  dimensions.length === 0 ? 'scalar' : dimensions.map(String).join(' × ')
