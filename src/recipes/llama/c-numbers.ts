/** Numbers as C's library reads them out of arguments: as much of the text as is one. */

const SPACE = '[ \\t-\\r]*'
const INTEGER = new RegExp(`^${SPACE}([+-]?\\d+)`)
const DECIMAL = new RegExp(`^${SPACE}([+-]?)(\\d+\\.?\\d*(?:e[+-]?\\d+)?|\\.\\d+(?:e[+-]?\\d+)?)`, 'i')
const HEXADECIMAL = new RegExp(`^${SPACE}([+-]?)0x(?=\\.?[\\da-f])([\\da-f]*)\\.?([\\da-f]*)(?:p([+-]?\\d+))?`, 'i')
const NAMED = new RegExp(`^${SPACE}([+-]?)(inf|nan)`, 'i')

/** `std::stoi`: undefined where it fails, as for a number that an int does not hold. */
export function toInt(text: string): number | undefined {
  const [, digits] = INTEGER.exec(text) ?? []
  const value = Number(digits)
  return digits !== undefined && value === (value | 0) ? value : undefined
}

/** `atol`: 0 where there is no number, the nearest where a long does not hold it. */
export function toLong(text: string): bigint {
  const value = BigInt(INTEGER.exec(text)?.[1]?.replace('+', '') ?? 0)
  if (value >= 2n ** 63n) return 2n ** 63n - 1n
  return value < -(2n ** 63n) ? -(2n ** 63n) : value
}

/** `atof`: 0 where there is no number. */
export function toDouble(text: string): number {
  const hexadecimal = HEXADECIMAL.exec(text)
  if (hexadecimal) {
    const [, sign, whole = '', fraction = '', exponent = '0'] = hexadecimal
    return signed(sign, parseInt(whole + fraction, 16) * 2 ** (Number(exponent) - 4 * fraction.length))
  }
  const [, sign, digits] = DECIMAL.exec(text) ?? []
  if (digits !== undefined) return signed(sign, Number(digits))
  const [, own, name] = NAMED.exec(text) ?? []
  if (name === undefined) return 0
  return signed(own, name.toLowerCase() === 'inf' ? Infinity : NaN)
}

function signed(sign: string | undefined, value: number): number {
  return sign === '-' ? -value : value
}
