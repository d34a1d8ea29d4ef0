/** An APR model as what it was made of: a Hugging Face folder or GGUF. Its tensors' names tell which. */
import {
  FORMATS,
  metadataEntries,
  metadataValue,
  type AprModel,
  type GgufModel,
  type Kv,
} from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { isPlaceholder } from '../../model/tensor.js'
import type { HfModel } from '../hf-model.js'
import { jsonFile } from '../json-file.js'
import { derivedKvs } from './derived-kvs.js'
import { kvOfEntry, KVS_KEY } from './kv-json.js'
import { filesOf, FILES_KEY, FOLDER_KEY } from './source-files.js'
import { inOrder, ORDER_KEY } from './tensor-order.js'

type Files = ReadonlyMap<string, Uint8Array>

/** Name of the output projection, under which `apr import` stores a copy of a tied embedding, also beside GGUF's names. */
const HEAD_NAME = 'lm_head.weight'

/** Whether a model has GGUF's names, not those of Hugging Face. */
export function hasGgufNames({ tensors }: AprModel): boolean {
  return tensors.some(({ name }) => name === 'token_embd.weight' || /^blk\.\d+\./.test(name))
}

/**
 * A model with GGUF's names as GGUF: its KVs are those that it was made of, or for simple models those that its metadata
 * tell.
 * @throws AprError `APR_UNSUPPORTED` that lists what the metadata lack, `APR_BAD_METADATA`
 */
export function ggufModelOf(model: AprModel): GgufModel {
  const { metadata, origin } = model
  // GGUF has no such name: there it is always such a copy.
  const kept = model.tensors.filter((tensor) => !isPlaceholder(tensor) && tensor.name !== HEAD_NAME)
  const tensors = inOrder(kept, metadataValue(metadata, ORDER_KEY))
  const entries = metadataEntries(metadata, KVS_KEY)
  const known: Kv[] | undefined =
    entries && Array.from(entries, ([key, entry]) => kvOfEntry(key, entry, (name) => metadataValue(metadata, name)))
  const kvs = known ?? derivedKvs((key) => metadataValue(metadata, key), tensors)
  const gguf: GgufModel = Object.freeze({
    ...{ format: 'gguf', tensors: Object.freeze(tensors), kvs: Object.freeze(kvs) },
    ...(origin && { origin }),
  })
  // What was quantized since is no longer of the type that the source's KVs tell.
  const isQuantized = metadataValue(metadata, 'quantization') !== undefined && known !== undefined
  return isQuantized ? FORMATS.gguf.withQuantized(gguf, gguf.tensors, true) : gguf
}

/**
 * A model with Hugging Face's names as the folder that it was made of.
 * @param config the files of such a folder, which count instead of those that the model holds
 * @throws AprError `APR_UNSUPPORTED` that lists what the metadata lack where there are no files, `APR_BAD_METADATA`
 */
export function hfModelOfApr(model: AprModel, config?: Files): HfModel {
  const { metadata, tensors } = model
  const own = filesOf(metadataValue(metadata, FILES_KEY))
  const files = config ?? own
  if (!files) throw lacking(model)
  // A model that holds its folder's files has the folder's tensors; another may have been given a copy of the embedding.
  const mayBeCopied = own === undefined
  const isTied = mayBeCopied && jsonFile(files, 'config.json')?.['tie_word_embeddings'] === true
  const hasCopy = isTied || metadataValue(metadata, 'tied_embeddings') === true
  const kept = tensors.filter((tensor) => !isPlaceholder(tensor) && !(hasCopy && tensor.name === HEAD_NAME))
  const folder = metadataValue(metadata, FOLDER_KEY) ?? metadataValue(metadata, 'name')
  return {
    folder: typeof folder === 'string' ? folder : '',
    tensors: inOrder(kept, metadataValue(metadata, ORDER_KEY)),
    files,
  }
}

/** What the metadata of an APR model never tell, and GGUF needs. */
const NEVER_TOLD = ['the scaling of rotary embeddings', 'the types of tokens', 'the pre-tokenizer']
/** What they may tell. */
const NEEDED = ['architecture', 'hidden_size', 'num_layers', 'num_heads', 'rope_theta', 'tokenizer.vocabulary']

function lacking({ metadata, tensors }: AprModel): AprError {
  const hasExperts = tensors.some(({ name }) => name.includes('.experts.'))
  const needed = [...NEEDED, ...(hasExperts ? ['num_experts_per_tok'] : [])]
  const missing = needed.filter((key) => (metadataValue(metadata, key) ?? null) === null)
  const what =
    `expected the files of the model's folder in ${FILES_KEY} of the metadata, or \`config\`, a folder with config.json ` +
    `and the tokenizer, found neither; the metadata lack ${[...missing, ...NEVER_TOLD].join(', ')}`
  return new AprError('APR_UNSUPPORTED', what)
}
