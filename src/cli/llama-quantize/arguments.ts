/** The command line of llama-quantize, read as it reads it: options first, in their order, then paths, type and threads. */
import type { Kv } from '../../formats/formats.js'
import { isGgufDType } from '../../formats/formats.js'
import type { DType } from '../../model/dtypes.js'
import { AprError, printable } from '../../model/errors.js'
import { toInt } from '../../recipes/llama/c-numbers.js'
import { parseKvOverride } from '../../recipes/llama/kv-overrides.js'
import { UsageError } from '../output.js'
import { fileTypeOf } from './file-types.js'

export interface LlamaQuantizeArguments {
  input: string
  /** Undefined for a dry run that names none. With `keepSplit` the parts' names start with it. */
  output: string | undefined
  /** As llama-quantize writes it. */
  fileType: string
  /** Undefined: as many as there are cores. */
  threads: number | undefined
  imatrix: string
  include: string[]
  exclude: string[]
  overrides: Kv[]
  /** First match wins. */
  types: { pattern: string; dtype: DType }[]
  outputType: DType | undefined
  embeddingType: DType | undefined
  pruneLayers: number[]
  allowRequantize: boolean
  leaveOutput: boolean
  pure: boolean
  keepSplit: boolean
  dryRun: boolean
}

/** What an option does with its value; `readFile` reads a text. */
type Take = (options: LlamaQuantizeArguments, value: string, readFile: (path: string) => string) => void

const FLAGS: Readonly<Record<string, 'allowRequantize' | 'leaveOutput' | 'pure' | 'keepSplit' | 'dryRun'>> = {
  '--allow-requantize': 'allowRequantize',
  '--leave-output-tensor': 'leaveOutput',
  '--pure': 'pure',
  '--keep-split': 'keepSplit',
  '--dry-run': 'dryRun',
}

const VALUES: Readonly<Record<string, Take>> = {
  '--imatrix': (options, path) => (options.imatrix = path),
  '--include-weights': ({ include }, part) => include.push(part),
  '--exclude-weights': ({ exclude }, part) => exclude.push(part),
  '--output-tensor-type': (options, type) => (options.outputType = dtypeOf(type)),
  '--token-embedding-type': (options, type) => (options.embeddingType = dtypeOf(type)),
  '--tensor-type': ({ types }, rule) => types.push(typeRule(rule)),
  '--tensor-type-file': ({ types }, path, readFile) => types.push(...words(readFile(path)).map(typeRule)),
  '--prune-layers': (options, list) => (options.pruneLayers = layerNumbers(list)),
  '--override-kv': ({ overrides }, text) => overrides.push(parseKvOverride(text)),
  // Memory is bounded whatever it says.
  '--max-buffer-size': (_, size) => checkBufferSize(size),
}

/**
 * @param readFile reads the file of `--tensor-type-file`
 * @throws UsageError where llama-quantize shows its usage, AprError for a value that it refuses
 */
export function readArguments(args: readonly string[], readFile: (path: string) => string): LlamaQuantizeArguments {
  if (args.length < 2) throw new UsageError('expected a model and a type')
  const options: LlamaQuantizeArguments = {
    ...{ input: '', output: undefined, fileType: '', threads: undefined },
    ...{ imatrix: '', include: [], exclude: [], overrides: [], types: [], pruneLayers: [] },
    ...{ outputType: undefined, embeddingType: undefined },
    ...{ allowRequantize: false, leaveOutput: false, pure: false, keepSplit: false, dryRun: false },
  }
  const rest = readOptions(args, options, readFile)
  if (rest.length < 2) throw new UsageError('expected a model and a type behind the options')
  if (options.include.length > 0 && options.exclude.length > 0) {
    throw new UsageError('--include-weights and --exclude-weights cannot be used together')
  }
  readPaths(rest, options)
  return options
}

/** @returns what stands behind the options */
function readOptions(
  args: readonly string[],
  options: LlamaQuantizeArguments,
  readFile: (path: string) => string,
): readonly string[] {
  let at = 0
  for (; args[at]?.startsWith('--') === true; at++) {
    const name = args[at] ?? ''
    const flag = FLAGS[name]
    const take = VALUES[name]
    if (flag) options[flag] = true
    else if (take) {
      const value = args[++at]
      if (value === undefined) throw new UsageError(`expected a value behind ${name}`)
      take(options, value, readFile)
    } else throw new UsageError(`unknown option ${printable(name)}`)
  }
  return args.slice(at)
}

/** A model, then a type, or an output and a type; then, or not, a number of threads. */
function readPaths(rest: readonly string[], options: LlamaQuantizeArguments): void {
  const [input = '', second = '', third] = rest
  options.input = input
  const ownType = fileTypeOf(second)
  options.fileType = ownType ?? namedType(third)
  // What names a type is none for a file: `7.gguf` is the type of number 7.
  options.output = ownType === undefined ? prefixOf(second, options) : defaultOutput(options)
  const threads = rest[ownType === undefined ? 3 : 2]
  const count = threads === undefined ? 0 : toInt(threads)
  if (count === undefined) throw bad('a number of threads', threads)
  options.threads = count > 0 ? count : undefined
}

function namedType(text: string | undefined): string {
  if (text === undefined) throw bad('a type behind the output', undefined)
  const found = fileTypeOf(text)
  if (found === undefined) throw bad('a type', text)
  return found
}

/** Of an output in parts, the start of their names: the last five characters are taken for `.gguf` where that is in it. */
function prefixOf(output: string, { keepSplit }: LlamaQuantizeArguments): string {
  return keepSplit && output.includes('.gguf') ? output.slice(0, -5) : output
}

/** Beside the model. */
function defaultOutput({ input, fileType, keepSplit, dryRun }: LlamaQuantizeArguments): string | undefined {
  if (dryRun) return undefined
  const [folder = ''] = /^[^]*[/\\]/.exec(input) ?? []
  return `${folder}ggml-model-${fileType}${keepSplit ? '' : '.gguf'}`
}

function dtypeOf(text: string): DType {
  const dtype = text.toUpperCase()
  if (isGgufDType(dtype)) return dtype
  throw new UsageError(`expected a tensor type, found ${printable(text)}`)
}

/** `PATTERN=TYPE`: names are lower case, and so are patterns. */
function typeRule(text: string): { pattern: string; dtype: DType } {
  const at = text.indexOf('=')
  if (at < 0) throw new UsageError(`expected PATTERN=TYPE, found ${printable(text)}`)
  if (at === 0) throw new UsageError(`expected a pattern before the sign =, found ${printable(text)}`)
  if (at === text.length - 1) throw new UsageError(`expected a type behind the sign =, found ${printable(text)}`)
  const pattern = text.slice(0, at).replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return { pattern, dtype: dtypeOf(text.slice(at + 1)) }
}

function words(text: string): string[] {
  return text.split(/[ \t-\r]+/).filter((word) => word !== '')
}

function layerNumbers(list: string): number[] {
  const numbers = list.split(',').map((text) => {
    const number = toInt(text)
    if (number === undefined || number < 0) throw new UsageError(`expected numbers of layers, found ${printable(text)}`)
    return number
  })
  return [...new Set(numbers)].sort((a, b) => a - b)
}

function checkBufferSize(size: string): void {
  const mebibytes = toInt(size)
  if (mebibytes === undefined || mebibytes <= 0) throw bad('--max-buffer-size in MiB', size)
}

function bad(expected: string, found: string | undefined): AprError {
  return new AprError(
    'APR_BAD_OPTION',
    `expected ${expected}, found ${found === undefined ? 'none' : printable(found)}`,
  )
}
