/** What stands on the command line, as values. */
import { InvalidArgumentError, Option } from 'commander'
import { TARGET_DTYPES, type TargetDType } from '../recipes/names.js'

export function gather(value: string, previous: string[] = []): string[] {
  if (value === '') throw new InvalidArgumentError('expected a pattern, found an empty one')
  return [...previous, value]
}

/** `ffn_down=Q6_K`: a pattern may have an equals sign, a dtype has none. */
export function gatherType(value: string, previous: [string, TargetDType][] = []): [string, TargetDType][] {
  const [, pattern = '', name = ''] = /^(.+)=([^=]+)$/.exec(value) ?? []
  if (pattern === '') throw new InvalidArgumentError('expected PATTERN=TYPE')
  return [...previous, [pattern, dtype(name)]]
}

export function dtypeOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(dtype)
}

export function dtype(value: string): TargetDType {
  const found = TARGET_DTYPES.find((name) => name === value.toUpperCase())
  if (!found) throw new InvalidArgumentError(`expected one of ${TARGET_DTYPES.join(', ')}`)
  return found
}

export function path(value: string): string {
  if (value === '') throw new InvalidArgumentError('expected a path, found an empty one')
  return value
}

export function wholeNumber(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('expected a whole number above 0')
  return Number(value)
}

export function wholeNumberFrom0(value: string): number {
  if (!/^\d{1,9}$/.test(value)) throw new InvalidArgumentError('expected a whole number, 0 or more')
  return Number(value)
}

export function positiveNumber(value: string): number {
  if (!/^\d+(\.\d+)?$/.test(value) || Number(value) <= 0) throw new InvalidArgumentError('expected a number above 0')
  return Number(value)
}

/** `8%`, or `0.08`. */
export function share(value: string): number {
  const [, digits, isPercent] = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(value) ?? []
  const found = Number(digits) / (isPercent === '%' ? 100 : 1)
  if (!(found > 0)) throw new InvalidArgumentError('expected a number above 0, as 8% or 0.08')
  return found
}

const SIZE_UNITS = {
  '': 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 1024,
  MIB: 1024 ** 2,
  GIB: 1024 ** 3,
  TIB: 1024 ** 4,
}

/** Bytes, or a number and its unit. */
export function size(value: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?b)?$/i.exec(value) ?? []
  const bytes = Math.floor(Number(digits) * SIZE_UNITS[unit.toUpperCase() as keyof typeof SIZE_UNITS])
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new InvalidArgumentError('expected bytes above 0, as 500000, 900MB, 4GB or 3.5GiB')
  }
  return bytes
}

/** As llama.cpp's converter takes it: bytes, or thousands, millions or thousands of millions of them. */
export function splitSize(value: string): number {
  const [, digits, unit = ''] = /^([1-9]\d{0,14})([KMG]?)$/.exec(value) ?? []
  const size = Number(digits) * { '': 1, K: 1e3, M: 1e6, G: 1e9 }[unit as '' | 'K' | 'M' | 'G']
  if (!Number.isSafeInteger(size)) {
    throw new InvalidArgumentError('expected bytes above 0, as 500000, 500M or 2G')
  }
  return size
}
