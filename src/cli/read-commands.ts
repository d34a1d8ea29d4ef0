import { printable } from '../model/errors.js'
import { inspect } from '../jobs/inspect.js'
import { verify } from '../jobs/verify.js'
import { SCHEMA_VERSION } from './json.js'
import { bytes, columns, count, errorFields, plural, print, printJson, reportFailure } from './output.js'

/** Metadata values longer than this are cut: a vocabulary takes megabytes. */
const SHOWN_VALUE_CHARACTERS = 100

export interface ReadFlags {
  json?: boolean
  debug?: boolean
}

export async function inspectCommand(file: string, { json }: ReadFlags): Promise<void> {
  const result = await inspect(file)
  if (json) {
    // The metadata as it stands in the file: a number that JavaScript cannot hold stays what it is.
    printJson(
      { schemaVersion: SCHEMA_VERSION, ...result },
      result.metadataText === undefined ? {} : { metadata: result.metadataText },
    )
    return
  }
  print(`${printable(result.file)}: APR ${result.version}, ${count(result.size)} bytes (${bytes(result.size)})`)
  print(`flags: ${result.flagNames?.join(', ') || 'none'}`)
  print(`checksum: ${result.hasFooter ? 'present' : 'none'}`)
  print(`parameters: ${count(result.parameters)}`)
  print('metadata:')
  for (const [key, value] of Object.entries(result.metadata)) {
    print(`  ${printable(key)}: ${printable(JSON.stringify(value), SHOWN_VALUE_CHARACTERS)}`)
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

export async function verifyCommand(file: string, { json = false, debug = false }: ReadFlags): Promise<void> {
  const { error, ...result } = await verify(file)
  if (json) printJson({ schemaVersion: SCHEMA_VERSION, ...result, ...(error && { error: errorFields(error) }) })
  else if (result.ok) {
    const checksum = { good: 'the checksum is right', none: 'no checksum in the file' }[
      result.footer as 'good' | 'none'
    ]
    print(`${printable(file)}: good; ${plural(result.tensors, 'tensor')}, ${bytes(result.size)}, ${checksum}`)
  }
  if (error) {
    process.exitCode = 1
    if (!json) reportFailure(error, json, debug)
  }
}
