/** Models that people use, as far as recipes look at them: names, shapes and hyperparameters in GGUF, no data. */
import { kv, type GgufModel, type Kv, type ScalarType } from '../../dist/formats/formats.js'
import type { TensorInfo } from '../../dist/model/tensor.js'
import { sized } from './golden-recipes.js'
import { oddModel } from './odd-names.js'

interface Shape {
  readonly architecture: string
  readonly layers: number
  readonly width: number
  readonly ffn: number
  readonly heads: number
  readonly kvHeads: number
  /** Default: the width by the heads. */
  readonly headDim?: number
  readonly vocab: number
  /** Whether the embedding is the output too. */
  readonly isTied?: boolean
  readonly experts?: number
  /** Width of an expert, where it is not `ffn`. */
  readonly expertFfn?: number
  /** Layers without experts before those with. */
  readonly denseLayers?: number
  readonly hasSharedExpert?: boolean
  readonly hasBias?: boolean
  readonly isFused?: boolean
  /** Ranks of queries, and of keys and values, that are stored as products of two matrices. */
  readonly ranks?: readonly [query: number, kv: number]
  readonly hasLayerEmbeddings?: boolean
  readonly hasPositions?: boolean
  /** Type of the norms' epsilon is that of a layer norm. */
  readonly hasLayerNorm?: boolean
  /** Further hyperparameters. */
  readonly kvs?: readonly (readonly [key: string, type: ScalarType, value: number])[]
}

const llama = { architecture: 'llama', kvHeads: 8 } as const
const qwen2 = { architecture: 'qwen2', hasBias: true } as const
const smol = { architecture: 'llama', vocab: 49152, isTied: true } as const
const large = { layers: 80, width: 8192, heads: 64 } as const

// prettier-ignore
const SHAPES = {
  'Llama-3-8B': { ...llama, layers: 32, width: 4096, ffn: 14336, heads: 32, vocab: 128256 },
  'Llama-3-70B': { ...llama, ...large, ffn: 28672, vocab: 128256 },
  'Llama-65B': { ...llama, ...large, ffn: 22016, kvHeads: 64, vocab: 32000 },
  'Llama-3.2-1B': { ...llama, layers: 16, width: 2048, ffn: 8192, heads: 32, vocab: 128256, isTied: true },
  'Mixtral-8x7B': { ...llama, layers: 32, width: 4096, ffn: 14336, heads: 32, vocab: 32000, experts: 8 },
  'Qwen2.5-0.5B': { ...qwen2, layers: 24, width: 896, ffn: 4864, heads: 14, kvHeads: 2, vocab: 151936, isTied: true },
  'Qwen2.5-1.5B': { ...qwen2, layers: 28, width: 1536, ffn: 8960, heads: 12, kvHeads: 2, vocab: 151936, isTied: true },
  'Qwen2.5-3B': { ...qwen2, layers: 36, width: 2048, ffn: 11008, heads: 16, kvHeads: 2, vocab: 151936, isTied: true },
  'Qwen2.5-7B': { ...qwen2, layers: 28, width: 3584, ffn: 18944, heads: 28, kvHeads: 4, vocab: 152064 },
  'Qwen2.5-14B': { ...qwen2, layers: 48, width: 5120, ffn: 13824, heads: 40, kvHeads: 8, vocab: 152064 },
  'Qwen2.5-32B': { ...qwen2, layers: 64, width: 5120, ffn: 27648, heads: 40, kvHeads: 8, vocab: 152064 },
  'Qwen2.5-72B': { ...qwen2, ...large, ffn: 29568, kvHeads: 8, vocab: 152064 },
  'Qwen3-30B-A3B': {
    architecture: 'qwen3moe', layers: 48, width: 2048, ffn: 6144, heads: 32, kvHeads: 4, headDim: 128, vocab: 151936,
    experts: 128, expertFfn: 768,
  },
  'SmolLM2-135M': { ...smol, layers: 30, width: 576, ffn: 1536, heads: 9, kvHeads: 3 },
  'SmolLM2-360M': { ...smol, layers: 32, width: 960, ffn: 2560, heads: 15, kvHeads: 5 },
  'SmolLM2-1.7B': { ...smol, layers: 24, width: 2048, ffn: 8192, heads: 32, kvHeads: 32 },
  'Falcon-7B': {
    architecture: 'falcon', layers: 32, width: 4544, ffn: 18176, heads: 71, kvHeads: 1, vocab: 65024, isFused: true,
    hasLayerNorm: true,
  },
  'Falcon-40B': {
    architecture: 'falcon', layers: 60, width: 8192, ffn: 32768, heads: 128, kvHeads: 8, vocab: 65024, isFused: true,
    hasLayerNorm: true,
  },
  'Phi-3-mini': {
    architecture: 'phi3', layers: 32, width: 3072, ffn: 8192, heads: 32, kvHeads: 32, vocab: 32064, isFused: true,
  },
  'GPT-2': {
    architecture: 'gpt2', layers: 12, width: 768, ffn: 3072, heads: 12, kvHeads: 12, vocab: 50257, isTied: true,
    isFused: true, hasLayerNorm: true, hasPositions: true, hasBias: true,
  },
  'DeepSeek-V2-Lite': {
    architecture: 'deepseek2', layers: 27, width: 2048, ffn: 10944, heads: 16, kvHeads: 16, headDim: 192, vocab: 102400,
    experts: 64, expertFfn: 1408, denseLayers: 1, hasSharedExpert: true, ranks: [0, 512],
    kvs: [['expert_shared_count', 'u32', 2], ['attention.kv_lora_rank', 'u32', 512]],
  },
  'Gemma-3n-E2B': {
    architecture: 'gemma3n', layers: 30, width: 2048, ffn: 8192, heads: 8, kvHeads: 2, headDim: 256, vocab: 262144,
    isTied: true, hasLayerEmbeddings: true, kvs: [['attention.sliding_window', 'u32', 512]],
  },
  'OLMo-80-layers': {
    architecture: 'olmo', layers: 80, width: 8192, ffn: 22016, heads: 64, kvHeads: 64, vocab: 50304, hasLayerNorm: true,
  },
} as const satisfies Record<string, Shape>

type RealShape = keyof typeof SHAPES | 'odd names'

/** Names of the models; one of them is not real. */
export const REAL_SHAPES = [...Object.keys(SHAPES), 'odd names'] as RealShape[]

/** In the order in which the converter writes such models; F16, as most of those are that get quantized. */
export function realModel(name: RealShape): GgufModel {
  if (name === 'odd names') return oddModel()
  const shape: Shape = SHAPES[name]
  return { format: 'gguf', kvs: kvsOf(shape), tensors: tensorsOf(shape) }
}

function kvsOf(shape: Shape): Kv[] {
  const { architecture, layers, width, ffn, heads, kvHeads, headDim, experts, expertFfn, hasLayerNorm, kvs } = shape
  const own = (key: string, type: ScalarType, value: number): Kv => kv(`${architecture}.${key}`, type, value)
  return [
    kv('general.architecture', 'string', architecture),
    own('block_count', 'u32', layers),
    own('context_length', 'u32', 4096),
    own('embedding_length', 'u32', width),
    own('feed_forward_length', 'u32', ffn),
    own('attention.head_count', 'u32', heads),
    ...(kvHeads === heads ? [] : [own('attention.head_count_kv', 'u32', kvHeads)]),
    own(`attention.layer_norm_${hasLayerNorm === true ? '' : 'rms_'}epsilon`, 'f32', 1e-5),
    ...(headDim === undefined ? [] : [own('attention.key_length', 'u32', headDim)]),
    ...(experts === undefined ? [] : [own('expert_count', 'u32', experts), own('expert_used_count', 'u32', 2)]),
    ...(expertFfn === undefined ? [] : [own('expert_feed_forward_length', 'u32', expertFfn)]),
    ...(kvs ?? []).map((pair) => own(...pair)),
    kv('general.file_type', 'u32', 1),
  ]
}

function tensorsOf(shape: Shape): TensorInfo[] {
  const { width, vocab, layers, isTied, hasLayerEmbeddings, hasPositions } = shape
  const tensors = [sized('token_embd.weight', 'F16', [vocab, width])]
  if (hasPositions === true) tensors.push(sized('position_embd.weight', 'F16', [1024, width]))
  if (hasLayerEmbeddings === true) {
    tensors.push(sized('per_layer_token_embd.weight', 'F16', [vocab, layers * 256]))
    tensors.push(sized('per_layer_model_proj.weight', 'F16', [layers * 256, width]))
    tensors.push(sized('altup_proj.weight', 'F16', [3, width, width]))
  }
  for (let layer = 0; layer < layers; layer++) {
    for (const tensor of layerTensors(shape, layer)) tensors.push({ ...tensor, name: `blk.${layer}.${tensor.name}` })
  }
  tensors.push(sized('output_norm.weight', 'F32', [width]))
  if (isTied !== true) tensors.push(sized('output.weight', 'F16', [vocab, width]))
  return tensors
}

function layerTensors(shape: Shape, layer: number): TensorInfo[] {
  const { width, hasLayerEmbeddings } = shape
  const isDense = shape.experts === undefined || layer < (shape.denseLayers ?? 0)
  return [
    sized('attn_norm.weight', 'F32', [width]),
    ...attention(shape),
    sized('ffn_norm.weight', 'F32', [width]),
    ...(isDense ? denseFfn(shape) : expertFfn(shape)),
    ...(hasLayerEmbeddings === true
      ? [
          sized('inp_gate.weight', 'F16', [256, width]),
          sized('proj.weight', 'F16', [width, 256]),
          sized('laurel_l.weight', 'F16', [64, width]),
          sized('altup_router.weight', 'F16', [4, width]),
        ]
      : []),
  ]
}

function attention(shape: Shape): TensorInfo[] {
  const { width, heads, kvHeads, headDim = width / heads, hasBias, isFused, ranks } = shape
  const [rows, kvRows] = [heads * headDim, kvHeads * headDim]
  const output = sized('attn_output.weight', 'F16', [width, rows])
  if (isFused === true) return [sized('attn_qkv.weight', 'F16', [rows + 2 * kvRows, width]), output]
  if (ranks) {
    return [
      sized('attn_q.weight', 'F16', [rows, width]),
      sized('attn_kv_a_mqa.weight', 'F16', [ranks[1] + 64, width]),
      sized('attn_kv_a_norm.weight', 'F32', [ranks[1]]),
      sized('attn_kv_b.weight', 'F16', [heads * 256, ranks[1]]),
      sized('attn_output.weight', 'F16', [width, heads * 128]),
    ]
  }
  const projections = [
    sized('attn_q.weight', 'F16', [rows, width]),
    sized('attn_k.weight', 'F16', [kvRows, width]),
    sized('attn_v.weight', 'F16', [kvRows, width]),
  ]
  const biases = [sized('attn_q.bias', 'F32', [rows]), sized('attn_k.bias', 'F32', [kvRows])]
  return [...projections, ...(hasBias === true ? biases : []), output]
}

function denseFfn({ width, ffn, isFused }: Shape): TensorInfo[] {
  const down = sized('ffn_down.weight', 'F16', [width, ffn])
  if (isFused === true) return [sized('ffn_up.weight', 'F16', [2 * ffn, width]), down]
  return [sized('ffn_gate.weight', 'F16', [ffn, width]), sized('ffn_up.weight', 'F16', [ffn, width]), down]
}

function expertFfn({ width, ffn, experts = 0, expertFfn: own = ffn, hasSharedExpert }: Shape): TensorInfo[] {
  return [
    sized('ffn_gate_inp.weight', 'F32', [experts, width]),
    sized('ffn_gate_exps.weight', 'F16', [experts, own, width]),
    sized('ffn_up_exps.weight', 'F16', [experts, own, width]),
    sized('ffn_down_exps.weight', 'F16', [experts, width, own]),
    ...(hasSharedExpert === true
      ? [
          sized('ffn_gate_shexp.weight', 'F16', [2 * own, width]),
          sized('ffn_up_shexp.weight', 'F16', [2 * own, width]),
          sized('ffn_down_shexp.weight', 'F16', [width, 2 * own]),
        ]
      : []),
  ]
}
