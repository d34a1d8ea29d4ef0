/** What the command line prints: one place for numbers, errors and JSON. */
import { AprError, printable } from '../model/errors.js'
import { SCHEMA_VERSION, type CliJson, type ErrorFields } from './json.js'

/** Wrong usage that the argument parser cannot see. */
export class UsageError extends Error {}

/** What the library finds wrong with an option is wrong usage here. */
export function wrongUsage(error: unknown): never {
  throw error instanceof AprError ? new UsageError(error.what) : error
}

// A reader that has seen enough, as `head`, closes the pipe: that is no failure. An answer that is lost is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') return
  process.exitCode = 1
  process.stderr.write(`error: standard output: ${error.message}\n`)
})
// Warnings and messages that nobody hears change nothing about what was done.
process.stderr.on('error', () => undefined)

/**
 * JSON that a terminal can show: what is not printed stands as an escape, which means the same. It can only be inside a
 * string; line breaks and tabs can stand between values, and stay.
 */
export function visibleJson(json: string): string {
  return json.replace(/(?![\t\n\r])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    [...Array(character.length).keys()]
      .map((i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}

export function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}

/**
 * One JSON object on standard output, a line for each field, and for each item of a list: a list can be long.
 * @param texts fields whose JSON is there as text already
 */
export function printJson(value: CliJson, texts: Readonly<Record<string, string>> = {}): void {
  const fields = (Object.entries(value) as [string, unknown][]).filter(([, field]) => field !== undefined)
  print('{')
  fields.forEach(([key, field], i) => {
    const comma = i < fields.length - 1 ? ',' : ''
    const name = `  ${toJson(key)}: `
    if (Array.isArray(field) && field.length > 0) {
      print(`${name}[`)
      printItems(field)
      print(`  ]${comma}`)
    } else {
      print(name + (Object.hasOwn(texts, key) ? visibleJson(texts[key] ?? '') : toJson(field)) + comma)
    }
  })
  print('}')
}

function toJson(value: unknown): string {
  // JSON has no integers over 2^53 that every reader takes for what they are.
  const text = JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
  return visibleJson(text)
}

function printItems(items: readonly unknown[]): void {
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) {
    const lines = items.slice(start, start + ITEMS_AT_ONCE).map((item) => `    ${toJson(item)}`)
    print(lines.join(',\n') + (start + ITEMS_AT_ONCE < items.length ? ',' : ''))
  }
}

const ITEMS_AT_ONCE = 200

export function warn(line: string): void {
  process.stderr.write(`warning: ${printable(line, 1000)}\n`)
}

/** One line, or with `json` one object; with `debug` also the stack. */
export function reportFailure(error: unknown, json: boolean, debug: boolean): void {
  if (json) printJson({ schemaVersion: SCHEMA_VERSION, error: errorFields(error) })
  process.stderr.write(`error: ${messageOf(error)}\n`)
  if (debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
}

/** The fields of an error that a program can use. */
export function errorFields(error: unknown): ErrorFields {
  if (error instanceof AprError) return error.toJSON()
  if (!(error instanceof Error)) return { message: String(error) }
  const { code, message, path, offset, syscall } = error as NodeJS.ErrnoException & { offset?: number }
  return { code, message, file: path, offset, syscall }
}

function messageOf(error: unknown): string {
  return printable(error instanceof Error ? error.message : String(error), 2000)
}

/** A number of bytes for people: in powers of 1000, as disks are sold and `ls --si` shows them. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit] ?? ''}`
}

export function count(value: number): string {
  return value.toLocaleString('en-US')
}

/** `1 tensor`, `2 tensors`. */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

/** Lines with their columns aligned: text to the left, the last column to the right when `right`. */
export function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)))
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

/** How the size changes. */
export function sizeChange(ratio: number): string {
  if (ratio === 1) return 'the same size'
  return ratio >= 1 ? `${ratio.toFixed(2)} times smaller` : `${(1 / ratio).toFixed(2)} times larger`
}
