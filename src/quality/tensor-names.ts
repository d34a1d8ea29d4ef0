/** What a tensor is for and of which layer, by its name, as GGUF or as Hugging Face has it. */

/** Parts of Hugging Face's names, in GGUF's words. */
const WORDS: Readonly<Record<string, string>> = {
  ...{ embed_tokens: 'token_embd', lm_head: 'output', norm: 'output_norm' },
  ...{ 'self_attn.q_proj': 'attn_q', 'self_attn.k_proj': 'attn_k', 'self_attn.v_proj': 'attn_v' },
  ...{ 'self_attn.o_proj': 'attn_output', 'self_attn.qkv_proj': 'attn_qkv' },
  ...{ 'self_attn.q_norm': 'attn_q_norm', 'self_attn.k_norm': 'attn_k_norm' },
  ...{ input_layernorm: 'attn_norm', post_attention_layernorm: 'ffn_norm' },
  ...{ 'mlp.gate_proj': 'ffn_gate', 'mlp.up_proj': 'ffn_up', 'mlp.down_proj': 'ffn_down' },
  ...{ 'mlp.gate_up_proj': 'ffn_gate_up', 'mlp.gate': 'ffn_gate_inp', 'block_sparse_moe.gate': 'ffn_gate_inp' },
  ...{ 'mlp.experts.gate_proj': 'ffn_gate_exps', 'mlp.experts.up_proj': 'ffn_up_exps' },
  ...{ 'mlp.experts.down_proj': 'ffn_down_exps', 'block_sparse_moe.experts.w1': 'ffn_gate_exps' },
  ...{ 'block_sparse_moe.experts.w3': 'ffn_up_exps', 'block_sparse_moe.experts.w2': 'ffn_down_exps' },
}

const LAYER = /^blk\.(\d+)\.|(?:^|\.)layers\.(\d+)\./

export function layerOfTensor(name: string): number | null {
  const [, gguf, hf] = LAYER.exec(name) ?? []
  const digits = gguf ?? hf
  return digits === undefined ? null : Number(digits)
}

/** `attn_q`, `ffn_down_exps`, `output_norm`; of a bias `attn_q.bias`. Of a name that nobody knows what stands in it. */
export function kindOfTensor(name: string): string {
  const [, stem = name, suffix = ''] = /^(.*?)(\.weight|\.bias)?$/.exec(name) ?? []
  const inLayer = stem.replace(/^blk\.\d+\./, '').replace(/^.*(?:^|\.)layers\.\d+\./, '')
  const plain = inLayer.replace(/^model\./, '').replace(/\.experts\.\d+\./, '.experts.')
  const kind = Object.hasOwn(WORDS, plain) ? (WORDS[plain] ?? plain) : plain
  return suffix === '.bias' ? `${kind}.bias` : kind
}

/** Whether tensors are named as GGUF names them. */
export function hasGgufNames(names: readonly string[]): boolean {
  return names.some((name) => name.startsWith('blk.') || name === 'token_embd.weight')
}
