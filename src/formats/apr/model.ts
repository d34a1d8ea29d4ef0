/** An APR model, and what of its tensors is the format's own. */
import { DTYPES, isDType, isKQuant } from '../../model/dtypes.js'
import type { FileIdentity, ModelOf } from '../../model/model.js'
import { elementCount, isPlaceholder, parameterCount, tensorBytes, type TensorInfo } from '../../model/tensor.js'
import { utf8Bytes } from '../../model/utf8.js'
import { FLAGS } from './header.js'
import { editedMetadataBytes, editMetadata, metadataValue } from './metadata.js'

/** A whole model but for its data. */
export interface AprModel extends ModelOf<'apr'> {
  /** The metadata as JSON text: kept as text so that no number, null or key order changes on the way. */
  readonly metadata: string
  /** The header's flag bits. */
  readonly flags: number
  /** Minor version of the format. */
  readonly minorVersion: number
  /** The header's 20 reserved bytes. */
  readonly reserved: Uint8Array
}

declare module '../../model/model.js' {
  interface Models {
    apr: AprModel
  }
}

/** Bytes 44 to 63 of the header. */
const RESERVED_BYTES = 20

/**
 * A model that comes from another format.
 * @param metadata by key the JSON text of each value, in the order in which they are to stand; a long one in pieces
 */
export function makeAprModel(
  tensors: readonly TensorInfo[],
  metadata: ReadonlyMap<string, string | readonly string[]>,
  origin?: FileIdentity,
): AprModel {
  const pieces = Array.from(metadata, ([key, json], i) => [i === 0 ? '' : ',', JSON.stringify(key), ':', json].flat())
  const isQuantized = tensors.some(({ dtype }) => DTYPES[dtype].kind === 'quantized')
  const vocabulary = metadata.has('tokenizer.vocabulary') ? FLAGS.vocabulary : 0
  return Object.freeze({
    format: 'apr',
    tensors: Object.freeze([...tensors]),
    // Joined once: it can be tens of megabytes.
    metadata: ['{', ...pieces.flat(), '}'].join(''),
    flags: FLAGS.rowMajor | (isQuantized ? FLAGS.quantized : 0) | vocabulary,
    minorVersion: 0,
    reserved: new Uint8Array(RESERVED_BYTES),
    ...(origin && { origin }),
  })
}

/** Names of output projections that may be tied to the embedding: a placeholder has one of these. */
const TIED_NAMES = ['lm_head.weight', 'output.weight']

/**
 * Whether `size` is one that a tensor of this dtype and shape can have: the exact one, none for the placeholder of a
 * tied output projection, or that of a K-quant matrix cut flat, as older files hold it.
 */
export function isPossibleSize(tensor: TensorInfo): boolean {
  const { name, dtype, shape, size } = tensor
  if (!isDType(dtype)) return false
  if (size === tensorBytes(dtype, shape)) return true
  if (isPlaceholder(tensor)) return TIED_NAMES.includes(name)
  return isKQuant(dtype) && size === tensorBytes(dtype, [elementCount(shape)])
}

/** The same model with other tensors. Where the number of parameters changes and metadata tells it, that is changed too. */
export function withTensors(model: AprModel, tensors: readonly TensorInfo[]): AprModel {
  const count = parameterCount(tensors)
  const isTold = count !== parameterCount(model.tensors) && metadataValue(model.metadata, 'param_count') !== undefined
  const metadata = isTold ? editMetadata(model.metadata, { param_count: count }) : model.metadata
  return Object.freeze({ ...model, metadata, tensors: Object.freeze([...tensors]) })
}

/** Metadata of a model with Q4_K tensors, as the reference writes it. */
const QUANTIZATION = { quant_type: 'q4_k', bits: 4, block_size: 256, symmetric: false }

/** The same model with these tensors, of which some were made Q4_K, or with `isQuantized` false just of another dtype. */
export function withQuantized(model: AprModel, tensors: readonly TensorInfo[], isQuantized: boolean): AprModel {
  const flags = model.flags | FLAGS.rowMajor
  if (!isQuantized) return Object.freeze({ ...model, tensors, flags })
  const originalFormat = metadataValue(model.metadata, 'original_format')
  const changes = {
    quantization: QUANTIZATION,
    param_count: parameterCount(tensors),
    total_size: 0,
    ...((originalFormat === undefined || originalFormat === null) && { original_format: 'apr' }),
  }
  const metadata = editMetadata(model.metadata, changes)
  const quantized = Object.freeze({ ...model, tensors, metadata, flags: flags | FLAGS.quantized })
  metadataSizes.set(quantized, editedMetadataBytes(model.metadata, changes))
  return quantized
}

/** Bytes of metadata in UTF-8 where they are known: to count them would make the whole text, which a plan needs not. */
const metadataSizes = new WeakMap<AprModel, number>()

/** Bytes of a model's metadata in UTF-8. */
export function metadataBytes(model: AprModel): number {
  let bytes = metadataSizes.get(model)
  if (bytes === undefined) {
    bytes = utf8Bytes(model.metadata)
    metadataSizes.set(model, bytes)
  }
  return bytes
}
