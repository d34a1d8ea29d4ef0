/**
 * A stand-in for Qwen3-Coder-30B-A3B-Instruct: the real tensor table and a vocabulary of the real size, over data that
 * is a hole in the file. 61 GB long, a few MB on disk.
 */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { elementCount, layOut } from './apr-layout.js'

const LAYERS = 48
const EXPERTS = 128
const VOCABULARY_TOKENS = 151_643
const VOCABULARY_MERGES = 151_387

/**
 * Writes the file. All weights read as zero; there is no footer, as in some files of that model's family.
 *
 * @param {string} path On a file system with sparse files.
 * @returns {{ fileBytes: number, frontBytes: number, tensors: number, weights: number }} `frontBytes` are really on disk.
 */
export function writeSparseQwen(path) {
  const tensors = tensorTable()
  const weights = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const front = layOut(tensors, JSON.stringify(metadata(weights)))
  const fileBytes = front.bytes.length + front.dataBytes

  const descriptor = openSync(path, 'w')
  try {
    for (let at = 0; at < front.bytes.length;) at += writeSync(descriptor, front.bytes, at)
    ftruncateSync(descriptor, fileBytes)
  } finally {
    closeSync(descriptor)
  }
  return { fileBytes, frontBytes: front.bytes.length, tensors: tensors.length, weights }
}

/** @returns {import('./apr-layout.js').Tensor[]} */
function tensorTable() {
  /** @type {Array<[name: string, shape: number[]]>} */
  const table = [
    ['model.embed_tokens.weight', [151936, 2048]],
    ['model.norm.weight', [2048]],
    ['lm_head.weight', [151936, 2048]],
  ]
  for (let layer = 0; layer < LAYERS; layer++) {
    const prefix = `model.layers.${layer}`
    table.push(
      [`${prefix}.input_layernorm.weight`, [2048]],
      [`${prefix}.post_attention_layernorm.weight`, [2048]],
      [`${prefix}.self_attn.q_proj.weight`, [4096, 2048]],
      [`${prefix}.self_attn.k_proj.weight`, [512, 2048]],
      [`${prefix}.self_attn.v_proj.weight`, [512, 2048]],
      [`${prefix}.self_attn.o_proj.weight`, [2048, 4096]],
      [`${prefix}.self_attn.q_norm.weight`, [128]],
      [`${prefix}.self_attn.k_norm.weight`, [128]],
      [`${prefix}.mlp.gate.weight`, [128, 2048]],
    )
    for (let expert = 0; expert < EXPERTS; expert++) {
      table.push(
        [`${prefix}.mlp.experts.${expert}.gate_proj.weight`, [768, 2048]],
        [`${prefix}.mlp.experts.${expert}.up_proj.weight`, [768, 2048]],
        [`${prefix}.mlp.experts.${expert}.down_proj.weight`, [2048, 768]],
      )
    }
  }
  return table.map(([name, shape]) => ({ name, dtype: 'F16', shape }))
}

/** @param {number} paramCount */
function metadata(paramCount) {
  return {
    model_type: 'qwen3_moe',
    name: 'Qwen3-Coder-30B-A3B-Instruct',
    original_format: 'safetensors',
    param_count: paramCount,
    architecture: 'qwen3_moe',
    hf_architecture: 'Qwen3MoeForCausalLM',
    hidden_size: 2048,
    num_layers: LAYERS,
    num_heads: 32,
    num_kv_heads: 4,
    vocab_size: 151936,
    max_position_embeddings: 262144,
    rope_theta: 10000000,
    head_dim: 128,
    num_experts: EXPERTS,
    num_experts_per_tok: 8,
    moe_intermediate_size: 768,
    'tokenizer.vocabulary': Array.from({ length: VOCABULARY_TOKENS }, (_, index) => token(index)),
    'tokenizer.merges': Array.from(
      { length: VOCABULARY_MERGES },
      (_, index) => `${token(index)} ${token(index * 7 + 3)}`,
    ),
  }
}

/**
 * A made-up token: on every second one the mark of a leading space that byte-level vocabularies have, then up to 7
 * letters and digits, distinct for every index. Their lengths bring the metadata to about the real one's 5 MB.
 *
 * @param {number} index
 */
function token(index) {
  // A bijection on 32 bits spreads neighbours over the alphabet.
  const spread = Math.imul(index, 0x9e3779b1) >>> 0
  return `${index % 2 === 0 ? '\u0120' : ''}${spread.toString(36)}`
}
