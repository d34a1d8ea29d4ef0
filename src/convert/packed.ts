/** What kind of packed checkpoint tensors are left over of. */
import { isFields } from '../model/found.js'
import type { HfModel } from './hf-model.js'
import { jsonFile } from './json-file.js'

const LEFTOVERS: readonly (readonly [RegExp, string])[] = [
  [/\.(qweight|qzeros|g_idx|scales)\b/, 'GPTQ or AWQ'],
  [/\.(SCB|absmax|quant_map|nested_absmax|quant_state\S*)\b|weight_format/, 'bitsandbytes'],
  [/\.weight_(packed|shape|zero_point|global_scale)\b/, 'compressed-tensors'],
  [/\.weight_scale(_inv)?\b|\(F8_/, 'FP8 without the scales or the settings that it needs'],
]

/** Undefined where nothing tells. */
export function packedKind({ files }: HfModel, names: readonly string[]): string | undefined {
  const quantization = jsonFile(files, 'config.json')?.['quantization_config']
  const method = isFields(quantization) ? quantization['quant_method'] : undefined
  const found = LEFTOVERS.find(([pattern]) => names.some((name) => pattern.test(name)))?.[1]
  return typeof method === 'string' && found !== undefined ? `${method} (${found})` : found
}
