import { printable } from '../model/errors.js'
import { inspect } from '../jobs/reading/inspect.js'
import { verify } from '../jobs/reading/verify.js'
import { SCHEMA_VERSION } from './json.js'
import { valueText } from './metadata-line.js'
import { bytes, columns, count, errorFields, plural, print, printJson, reportFailure } from './output.js'

/** Arrays longer than this are cut, and to how many elements: a vocabulary takes megabytes. */
const LISTED_ELEMENTS = 16
const SHOWN_ELEMENTS = 8

const FORMAT_TITLES = { apr: 'APR', gguf: 'GGUF', safetensors: 'safetensors' } as const

export interface ReadFlags {
  json?: boolean
  debug?: boolean
}

export async function inspectCommand(file: string, { json }: ReadFlags): Promise<void> {
  const result = await inspect(file)
  const { metadataText, metadataTypes } = result
  if (json) {
    // The metadata as it stands in the file: a number that JavaScript cannot hold stays what it is.
    const texts: Record<string, string> = metadataText === undefined ? {} : { metadata: metadataText }
    const metadata = metadataText === undefined ? cutArrays(result.metadata) : result.metadata
    printJson({ schemaVersion: SCHEMA_VERSION, ...result, metadata }, texts)
    return
  }
  const version = result.version === '' ? '' : ` ${result.version}`
  const name = FORMAT_TITLES[result.format]
  print(`${printable(result.file)}: ${name}${version}, ${count(result.size)} bytes (${bytes(result.size)})`)
  if (result.flagNames) print(`flags: ${result.flagNames.join(', ') || 'none'}`)
  print(`checksum: ${result.hasFooter ? 'present' : 'none'}`)
  print(`parameters: ${count(result.parameters)}`)
  printFiles('files', result.files ?? [])
  const beside = Object.entries(result.sideFiles ?? {})
  printFiles(
    'beside them',
    beside.map(([sideFile, size]) => ({ name: sideFile, size })),
  )
  print('metadata:')
  for (const [key, value] of Object.entries(result.metadata)) {
    const type = metadataTypes?.[key]
    if (type === undefined) print(`  ${printable(key)}: ${valueText(value)}`)
    else print(`  ${printable(key)} (${type}): ${Array.isArray(value) ? arrayText(value) : valueText(value)}`)
  }
  print(`${plural(result.tensors.length, 'tensor')}:`)
  const rows = result.tensors.map(({ name, dtype, shape, size, position }) => [
    printable(name),
    dtype,
    `[${shape.join(', ')}]`,
    count(size),
    count(position),
  ])
  for (const line of columns([['name', 'dtype', 'shape', 'bytes', 'at byte'], ...rows], [3, 4])) print(`  ${line}`)
}

function printFiles(title: string, files: readonly { readonly name: string; readonly size: number }[]): void {
  if (files.length === 0) return
  print(`${title}:`)
  for (const { name, size } of files) print(`  ${printable(name)}: ${count(size)} bytes`)
}

/** Values of metadata, with of each long array its length and its first elements. */
function cutArrays(metadata: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const entries = Object.entries(metadata).map(([key, value]): [string, unknown] => {
    if (!Array.isArray(value) || value.length <= LISTED_ELEMENTS) return [key, value]
    return [key, { length: value.length, first: value.slice(0, SHOWN_ELEMENTS) as unknown[] }]
  })
  return Object.fromEntries(entries)
}

function arrayText(values: readonly unknown[]): string {
  const first = valueText(values.slice(0, SHOWN_ELEMENTS))
  return values.length > SHOWN_ELEMENTS ? `${count(values.length)} elements: ${first}` : first
}

export async function verifyCommand(file: string, { json = false, debug = false }: ReadFlags): Promise<void> {
  const { error, ...result } = await verify(file)
  if (json) printJson({ schemaVersion: SCHEMA_VERSION, ...result, ...(error && { error: errorFields(error) }) })
  else if (result.ok) {
    const none = result.format === 'apr' ? 'no checksum in the file' : 'no checksum in the format'
    const checksum = result.footer === 'good' ? 'the checksum is right' : none
    print(`${printable(file)}: good; ${plural(result.tensors, 'tensor')}, ${bytes(result.size)}, ${checksum}`)
  }
  if (error) {
    process.exitCode = 1
    if (!json) reportFailure(error, json, debug)
  }
}
