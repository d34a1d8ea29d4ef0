/** What a model's config.json says of weights in FP8. */
import { AprError } from '../../model/errors.js'
import { found, isFields } from '../../model/found.js'

export interface Fp8Settings {
  /** What the name of a weight's scales has behind the weight's own. */
  readonly suffix: string
  /** Elements that have one scale, in each of the last dimensions; undefined: scales are as broadcasting has them. */
  readonly block: readonly number[] | undefined
  /** Names of tensors that no weight needs: scales of activations. */
  readonly unused: RegExp | undefined
}

/**
 * The settings by the publisher's method, as far as llama.cpp's converter knows them; undefined for a model that has none.
 * @param config parsed
 * @throws AprError `APR_BAD_METADATA` for sizes of blocks that are none
 */
export function fp8Settings(config: unknown): Fp8Settings | undefined {
  const settings = field(config, 'quantization_config')
  switch (field(settings, 'quant_method')) {
    case 'fp8':
      return {
        suffix: '_scale_inv',
        block: blockSizes(field(settings, 'weight_block_size')),
        unused: /[._]activation_scale$/,
      }
    case 'compressed-tensors': {
      const groups = field(settings, 'config_groups')
      const [weights, ...others] = isFields(groups) ? Object.values(groups).map((group) => field(group, 'weights')) : []
      const isFp8 = field(settings, 'format') === 'float-quantized' && field(weights, 'num_bits') === 8
      const isKnown = others.length === 0 && ['channel', 'block'].includes(String(field(weights, 'strategy')))
      if (!isFp8 || !isKnown) return undefined
      return { suffix: '_scale', block: blockSizes(field(weights, 'block_structure')), unused: undefined }
    }
    case 'modelopt':
      return { suffix: '_scale', block: undefined, unused: /\.(input|k|v)_scale$/ }
    default:
      return undefined
  }
}

function field(value: unknown, key: string): unknown {
  return isFields(value) ? value[key] : undefined
}

function blockSizes(value: unknown): readonly number[] | undefined {
  if (value === undefined || value === null) return undefined
  const isSizes = Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && Number(size) > 0)
  if (isSizes) return value as number[]
  const what = `expected the size of blocks in quantization_config to be an array of whole numbers, found ${found(value)}`
  throw new AprError('APR_BAD_METADATA', what, { file: 'config.json' })
}
