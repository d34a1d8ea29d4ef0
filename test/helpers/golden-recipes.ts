/** Runs of llama-quantize on the golden models: what each was asked for, as settings of a recipe. */
import type { DType } from '../../dist/model/dtypes.js'
import { arrayKv, kv, type GgufModel, type Kv, type KvScalar, type ScalarType } from '../../dist/formats/formats.js'
import { tensorBytes } from '../../dist/model/tensor.js'
import { recipeNamed, type TargetDType } from '../../dist/recipes/names.js'
import type { TypeRule } from '../../dist/recipes/patterns.js'
import type { RecipeSettings } from '../../dist/recipes/settings.js'
import type { GoldenExpected } from './golden-hf.js'

type ExpectedFile = Pick<GoldenExpected['convert'], 'kv' | 'tensors'>

/** A converted model, but for the long arrays of its vocabulary. */
export function convertedModel({ kv: pairs, tensors }: ExpectedFile): GgufModel {
  return {
    format: 'gguf',
    kvs: pairs.flatMap(({ key, type, value }) => (value === undefined ? [] : [pairOf(key, type, value)])),
    tensors: tensors.map(({ name, dims, dtype, bytes }) => {
      return { name, dtype: dtype as DType, shape: [...dims].reverse(), size: bytes }
    }),
  }
}

export function pairOf(key: string, type: string, value: unknown): Kv {
  const element = /^array\[(.*)\]$/.exec(type)?.[1]
  return element === undefined
    ? kv(key, type as ScalarType, value as KvScalar)
    : arrayKv(key, element as ScalarType, value as KvScalar[])
}

/** What a command line of llama-quantize asks for. */
export interface Asked {
  /** Name of the source, without `.gguf`. */
  readonly source: string
  /** Name of the recipe as it stands there. */
  readonly recipe: string
  readonly settings: Omit<RecipeSettings, 'name' | 'hasImportance'>
  readonly imatrix?: string | undefined
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly overrides: readonly string[]
  readonly pruned: readonly number[]
}

const asDType = (text: string): TargetDType => text.toUpperCase() as TargetDType

export function askedBy(command: string): Asked {
  const words = command.split(' ').slice(1)
  const types: TypeRule[] = []
  const settings: { -readonly [Key in keyof Asked['settings']]: Asked['settings'][Key] } = { types }
  const asked = { imatrix: undefined as string | undefined, include: [] as string[], exclude: [] as string[] }
  const overrides: string[] = []
  let pruned: number[] = []
  while (words[0]?.startsWith('--')) {
    const option = words.shift()
    if (option === '--pure') settings.pure = true
    else if (option === '--leave-output-tensor') settings.leaveOutput = true
    else if (option === '--allow-requantize') settings.allowRequantize = true
    else if (option === '--keep-split') settings.keepOrder = true
    else {
      const value = words.shift() ?? ''
      if (option === '--tensor-type') {
        const [pattern = '', dtype = ''] = value.split('=')
        types.push({ pattern, dtype: asDType(dtype) })
      } else if (option === '--output-tensor-type') settings.outputType = asDType(value)
      else if (option === '--token-embedding-type') settings.embeddingType = asDType(value)
      else if (option === '--imatrix') asked.imatrix = value
      else if (option === '--include-weights') asked.include.push(value)
      else if (option === '--exclude-weights') asked.exclude.push(value)
      else if (option === '--override-kv') overrides.push(value)
      else if (option === '--prune-layers') pruned = value.split(',').map(Number)
      else throw new Error(`unknown option ${option}`)
    }
  }
  const [source = '', , recipe = ''] = words
  return { source: source.replace(/\.gguf$/, ''), recipe, settings, ...asked, overrides, pruned }
}

/** The settings of a recipe: those that were asked for, and what a matrix of some entries says. */
export function settingsOf(asked: Asked, entries: readonly string[]): RecipeSettings {
  const { include, exclude, imatrix, settings } = asked
  const kept = entries
    .map((entry) => entry.replace(/\.(in_sum2|counts)$/, ''))
    .filter((name) => include.length === 0 || include.some((part) => name.includes(part)))
    .filter((name) => !exclude.some((part) => name.includes(part)))
  return {
    ...settings,
    name: recipeNamed(asked.recipe),
    hasImportance: imatrix === undefined ? undefined : (name) => kept.includes(name),
  }
}

/** A model without some of its layers, the others numbered anew. */
export function withoutLayers(model: GgufModel, pruned: readonly number[]): GgufModel {
  const tensors = model.tensors.flatMap((tensor) => {
    const layer = /^blk\.(\d+)\./.exec(tensor.name)?.[1]
    if (layer === undefined) return [tensor]
    if (pruned.includes(Number(layer))) return []
    const number = Number(layer) - pruned.filter((other) => other < Number(layer)).length
    return [{ ...tensor, name: tensor.name.replace(/\d+/, String(number)) }]
  })
  return { ...model, tensors }
}

export function sized(name: string, dtype: DType, shape: readonly number[]): GgufModel['tensors'][number] {
  return { name, dtype, shape, size: tensorBytes(dtype, shape) }
}
