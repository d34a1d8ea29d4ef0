import { AprError, printable } from '../model/errors.js'

/**
 * Checks an option that is a number of bytes.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkBytesOption(name: string, value: number): number {
  return checkWholeOption(name, value, 'bytes')
}

/**
 * Checks an option that is a whole number above 0.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkWholeOption(name: string, value: number, unit: string): number {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new AprError(
      'APR_BAD_OPTION',
      `expected ${name} to be a whole number of ${unit} above 0, found ${String(value)}`,
    )
  }
  return value
}

/**
 * Checks that every option is one that there is: a misspelled one would do nothing in silence.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkOptionNames(options: object, names: readonly string[]): void {
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw new AprError('APR_BAD_OPTION', `expected options among ${names.join(', ')}, found ${printable(unknown)}`)
  }
}

/**
 * Checks a path.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkPath(name: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value
  throw new AprError(
    'APR_BAD_OPTION',
    `expected ${name} to be a path, found ${value === '' ? 'an empty one' : typeof value}`,
  )
}

/**
 * Checks an option that is one of a few words.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkChoiceOption<T extends string>(name: string, value: T, choices: readonly T[]): T {
  if (!choices.includes(value)) {
    throw new AprError('APR_BAD_OPTION', `expected ${name} to be one of ${choices.join(', ')}, found ${value}`)
  }
  return value
}

/**
 * Checks that an argument is a function.
 * @throws AprError `APR_BAD_OPTION`
 */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') {
    throw new AprError(
      'APR_BAD_OPTION',
      `expected ${name} to be a function, found ${value === null ? 'null' : typeof value}`,
    )
  }
}

export interface ReaderOptions {
  /** Bytes of data in a record at the most; a record holds at least 256 elements. Default 2 MiB. */
  recordBytes?: number
  /** Bytes that are read ahead of need at the most; at least one record. Default 8 MiB. */
  highWaterMark?: number
}

export const READER_OPTIONS = ['recordBytes', 'highWaterMark']
const DEFAULT_RECORD_BYTES = 2 * 1024 * 1024
/** Four records: as many as Node reads at once. */
const DEFAULT_READ_AHEAD_BYTES = 8 * 1024 * 1024

/** @throws AprError `APR_BAD_OPTION` */
export function checkReaderOptions(options: ReaderOptions): Required<ReaderOptions> {
  return {
    recordBytes: checkBytesOption('recordBytes', options.recordBytes ?? DEFAULT_RECORD_BYTES),
    highWaterMark: checkBytesOption('highWaterMark', options.highWaterMark ?? DEFAULT_READ_AHEAD_BYTES),
  }
}
