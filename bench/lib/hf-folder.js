/**
 * Writes a Hugging Face folder as the converters find it: a Qwen3 mixture of experts in BF16, or a dense Qwen2 in F16, in
 * shards, with a vocabulary of 151,936 tokens. Any size, in constant memory.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gaussianWeights, toHalfPrecision } from './gaussian.js'

/** As in Qwen3-30B-A3B, but for the number of layers. */
const HIDDEN = 2048
const EXPERT_WIDTH = 768
const EXPERTS = 128
const HEADS = 32
const KV_HEADS = 4
const HEAD_DIM = 128
const VOCABULARY = 151_936
const TILE_BYTES = 16 * 2 ** 20

/** Bytes of a layer, nearly all of it experts. */
export const LAYER_BYTES = 2 * (3 * EXPERTS * HIDDEN * EXPERT_WIDTH + 2 * HIDDEN * HEAD_DIM * (HEADS + KV_HEADS))

/** As in Qwen2.5-1.5B, but for the number of layers. */
const DENSE = { hidden: 1536, width: 8960, heads: 12, kvHeads: 2 }

/**
 * @typedef {object} FolderOptions
 * @property {number} layers
 * @property {'mixture' | 'dense'} [kind] Default: mixture.
 * @property {number} [shardBytes]
 */

/**
 * @param {string} folder Made; must not be there.
 * @param {FolderOptions} options
 * @returns {number} Bytes of all shards.
 */
export function writeHfFolder(folder, { layers, kind = 'mixture', shardBytes = 2 ** 30 }) {
  mkdirSync(folder, { recursive: true })
  const isDense = kind === 'dense'
  const dtype = isDense ? 'F16' : 'BF16'
  const tile = isDense ? new Uint8Array(toHalfPrecision(gaussianWeights(TILE_BYTES / 2, 1)).buffer) : bf16Tile()
  const shards = cut(isDense ? denseTensorsOf(layers) : tensorsOf(layers), shardBytes)
  let total = 0
  const weightMap = /** @type {Record<string, string>} */ ({})
  shards.forEach((tensors, i) => {
    const name = `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`
    total += writeShard(join(folder, name), tensors, dtype, tile)
    for (const tensor of tensors) weightMap[tensor.name] = name
  })
  const index = { metadata: { total_size: total }, weight_map: weightMap }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index))
  writeFileSync(join(folder, 'config.json'), JSON.stringify(isDense ? denseConfig(layers) : config(layers)))
  writeTokenizer(folder)
  return total
}

const digits = (/** @type {number} */ value) => String(value).padStart(5, '0')

function config(/** @type {number} */ layers) {
  return {
    architectures: ['Qwen3MoeForCausalLM'],
    ...{ model_type: 'qwen3_moe', dtype: 'bfloat16', hidden_size: HIDDEN, intermediate_size: 6144, head_dim: HEAD_DIM },
    ...{ moe_intermediate_size: EXPERT_WIDTH, num_experts: EXPERTS, num_experts_per_tok: 8, norm_topk_prob: true },
    ...{ num_attention_heads: HEADS, num_key_value_heads: KV_HEADS, num_hidden_layers: layers },
    ...{ max_position_embeddings: 40960, rms_norm_eps: 1e-6, vocab_size: VOCABULARY, tie_word_embeddings: false },
    rope_parameters: { rope_theta: 1e6, rope_type: 'default' },
  }
}

function denseConfig(/** @type {number} */ layers) {
  const { hidden, width, heads, kvHeads } = DENSE
  return {
    architectures: ['Qwen2ForCausalLM'],
    ...{ model_type: 'qwen2', torch_dtype: 'float16', hidden_size: hidden, intermediate_size: width },
    ...{ num_attention_heads: heads, num_key_value_heads: kvHeads, num_hidden_layers: layers },
    ...{ max_position_embeddings: 32768, rms_norm_eps: 1e-6, rope_theta: 1e6, vocab_size: VOCABULARY },
    tie_word_embeddings: true,
  }
}

/** @returns {{ name: string, shape: number[] }[]} */
function denseTensorsOf(/** @type {number} */ layers) {
  const { hidden, width, heads, kvHeads } = DENSE
  const kvWidth = (hidden / heads) * kvHeads
  const layer = (/** @type {number} */ n) =>
    Object.entries({
      'input_layernorm.weight': [hidden],
      'mlp.down_proj.weight': [hidden, width],
      'mlp.gate_proj.weight': [width, hidden],
      'mlp.up_proj.weight': [width, hidden],
      'post_attention_layernorm.weight': [hidden],
      'self_attn.k_proj.bias': [kvWidth],
      'self_attn.k_proj.weight': [kvWidth, hidden],
      'self_attn.o_proj.weight': [hidden, hidden],
      'self_attn.q_proj.bias': [hidden],
      'self_attn.q_proj.weight': [hidden, hidden],
      'self_attn.v_proj.bias': [kvWidth],
      'self_attn.v_proj.weight': [kvWidth, hidden],
    }).map(([name, shape]) => ({ name: `model.layers.${n}.${name}`, shape }))
  return [
    { name: 'model.embed_tokens.weight', shape: [VOCABULARY, hidden] },
    ...Array.from({ length: layers }, (_, n) => layer(n)).flat(),
    { name: 'model.norm.weight', shape: [hidden] },
  ]
}

/** @returns {{ name: string, shape: number[] }[]} Sorted by name, as Hugging Face's tools write them. */
function tensorsOf(/** @type {number} */ layers) {
  const tensors = [
    { name: 'lm_head.weight', shape: [VOCABULARY, HIDDEN] },
    { name: 'model.embed_tokens.weight', shape: [VOCABULARY, HIDDEN] },
    { name: 'model.norm.weight', shape: [HIDDEN] },
  ]
  for (let layer = 0; layer < layers; layer++) {
    const add = (/** @type {string} */ name, /** @type {number[]} */ ...shape) => {
      tensors.push({ name: `model.layers.${layer}.${name}.weight`, shape })
    }
    add('input_layernorm', HIDDEN)
    add('post_attention_layernorm', HIDDEN)
    add('self_attn.q_norm', HEAD_DIM)
    add('self_attn.k_norm', HEAD_DIM)
    add('self_attn.q_proj', HEADS * HEAD_DIM, HIDDEN)
    add('self_attn.k_proj', KV_HEADS * HEAD_DIM, HIDDEN)
    add('self_attn.v_proj', KV_HEADS * HEAD_DIM, HIDDEN)
    add('self_attn.o_proj', HIDDEN, HEADS * HEAD_DIM)
    add('mlp.gate', EXPERTS, HIDDEN)
    for (let expert = 0; expert < EXPERTS; expert++) {
      add(`mlp.experts.${expert}.gate_proj`, EXPERT_WIDTH, HIDDEN)
      add(`mlp.experts.${expert}.up_proj`, EXPERT_WIDTH, HIDDEN)
      add(`mlp.experts.${expert}.down_proj`, HIDDEN, EXPERT_WIDTH)
    }
  }
  return tensors.sort((a, b) => (a.name < b.name ? -1 : 1))
}

const bytesOf = (/** @type {{ shape: number[] }} */ { shape }) => 2 * shape.reduce((product, n) => product * n, 1)

/** @param {{ name: string, shape: number[] }[]} tensors */
function cut(tensors, /** @type {number} */ shardBytes) {
  const shards = [/** @type {typeof tensors} */ ([])]
  let bytes = 0
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + bytesOf(tensor) > shardBytes) {
      shards.push([])
      bytes = 0
    }
    shards.at(-1)?.push(tensor)
    bytes += bytesOf(tensor)
  }
  return shards
}

/** @param {{ name: string, shape: number[] }[]} tensors */
function writeShard(/** @type {string} */ path, tensors, /** @type {string} */ dtype, /** @type {Uint8Array} */ tile) {
  let end = 0
  const entries = tensors.map((tensor) => {
    const offsets = [end, (end += bytesOf(tensor))]
    return [tensor.name, { dtype, shape: tensor.shape, data_offsets: offsets }]
  })
  const text = Buffer.from(JSON.stringify({ __metadata__: { format: 'pt' }, ...Object.fromEntries(entries) }))
  const head = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ')
  head.writeBigUInt64LE(BigInt(head.length - 8))
  text.copy(head, 8)
  const file = openSync(path, 'wx')
  try {
    writeSync(file, head)
    for (let done = 0; done < end;) done += writeSync(file, tile, 0, Math.min(tile.length, end - done))
  } finally {
    closeSync(file)
  }
  return end
}

function bf16Tile() {
  const bits = new Uint32Array(gaussianWeights(TILE_BYTES / 2, 1).buffer)
  return new Uint8Array(Uint16Array.from(bits, (value) => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16).buffer)
}

/** The vocabulary of Qwen 2, which the tests have: the converters know it. */
function writeTokenizer(/** @type {string} */ folder) {
  const maker = join(import.meta.dirname, '../../test/fixtures/hf/larger/make-model.mjs')
  const made = mkdtempSync(join(tmpdir(), 'apr-stream-tokenizer-'))
  try {
    execFileSync(process.execPath, [maker, 'large-qwen2', made])
    for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
      copyFileSync(join(made, 'large-qwen2', name), join(folder, name))
    }
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
}
