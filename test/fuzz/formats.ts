/** The formats whose files are damaged: how they are read and written, and what good files there are. */
import { readFileSync } from 'node:fs'
import { aprReader, arrayKv, ggufReader, ggufWriter, kv, safetensorsReader, safetensorsWriter } from 'apr-stream'
import { buildApr, f32Bytes } from '../helpers/apr-file.js'
import { buildGguf, GGUF_DTYPES } from '../helpers/gguf-file.js'
import { canonicalFile, tensorsFile, type FileTensor } from '../helpers/safetensors-file.js'
import { aprAnatomy } from './apr-anatomy.js'
import { ggufAnatomy } from './gguf-anatomy.js'
import type { Anatomy } from './mutate.js'
import { safetensorsAnatomy } from './safetensors-anatomy.js'

export interface FuzzedFormat {
  readonly extension: string
  readonly reader: typeof aprReader
  /** Where files are read and written: the writer, and the file that it makes of a good one. Else they are quantized. */
  readonly writer?: { readonly create: typeof ggufWriter; readonly expected: (file: Buffer) => Buffer }
  readonly anatomy: Anatomy
  readonly makeSeeds: () => (() => Buffer)[]
}

export const FUZZED_FORMATS: readonly FuzzedFormat[] = [
  { extension: '.apr', reader: aprReader, anatomy: aprAnatomy, makeSeeds: aprSeeds },
  {
    extension: '.gguf',
    reader: ggufReader,
    writer: { create: ggufWriter, expected: ggufExpected },
    anatomy: ggufAnatomy,
    makeSeeds: ggufSeeds,
  },
  {
    extension: '.safetensors',
    reader: safetensorsReader,
    writer: { create: safetensorsWriter, expected: canonicalFile },
    anatomy: safetensorsAnatomy,
    makeSeeds: safetensorsSeeds,
  },
]

/** What is mutated: small files mostly, so that most cases are quick. */
function aprSeeds(): (() => Buffer)[] {
  const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/apr/${name}.apr`, import.meta.url))
  const numbers = (count: number): Buffer => f32Bytes(Array.from({ length: count }, (_, i) => Math.sin(i) / 10))
  const small = [
    fixture('every-dtype'),
    fixture('golden_v2'),
    fixture('golden_v2_skip_none'),
    fixture('golden_v1'),
    buildApr({ tensors: [{ name: 'weight', shape: [2, 300], data: numbers(600) }] }),
    buildApr({ tensors: [{ name: 'weight', shape: [4, 256], data: numbers(1024) }], footer: false }),
    buildApr({
      tensors: [
        { name: 'q8', dtype: 'APR_Q8', shape: [3, 100], data: Buffer.concat([numbers(1), Buffer.alloc(300, 5)]) },
      ],
    }),
    buildApr({
      tensors: [
        { name: 'lm_head.weight', shape: [16, 32], data: Buffer.alloc(0) },
        { name: 'model.norm.weight', dtype: 'F16', shape: [32], data: Buffer.alloc(64, 0x30) },
        { name: 'q4', dtype: 'APR_Q4', shape: [2, 512], data: Buffer.alloc(576, 0x21) },
        { name: 'z', dtype: 'Q4_K', shape: [2, 384], data: Buffer.alloc(432) },
      ],
    }),
  ]
  const large = fixture('silero-vad.apr-quantize')
  return [...small, ...small, ...small, ...small, large].map((bytes) => () => bytes)
}

/** Of version 3, and with what the last tensor is padded with. */
function ggufExpected(file: Buffer): Buffer {
  const alignment = file.includes('general.alignment') ? 64 : 32
  const expected = Buffer.alloc(Math.ceil(file.length / alignment) * alignment)
  file.copy(expected)
  expected[4] = 3
  return expected
}

function ggufSeeds(): (() => Buffer)[] {
  const golden = readFileSync(new URL('../fixtures/hf/small/gguf/qwen3moe-stacked.Q4_K_M.gguf', import.meta.url))
  const kvs = [
    kv('general.architecture', 'string', 'llama'),
    kv('llama.block_count', 'u32', 2),
    kv('llama.rope.freq_base', 'f32', 10_000),
    arrayKv('tokenizer.ggml.tokens', 'string', ['<s>', '</s>', 'a', 'é', '']),
    arrayKv('tokenizer.ggml.token_type', 'i32', [3, 3, 1, 1, 5]),
    kv('flag', 'bool', true),
    kv('large', 'u64', 2n ** 60n),
  ]
  const everyDType = Object.entries(GGUF_DTYPES).map(([dtype, [, elements]], i) => {
    return { name: `t.${i}`, dtype, dims: [elements, ...[2, 1, 3].slice(0, i % 4)] }
  })
  const small = [
    buildGguf({ kvs, tensors: everyDType }),
    buildGguf({ version: 2, kvs: kvs.slice(0, 2), tensors: [{ dims: [300, 2] }, { dims: [] }, { dims: [0, 7] }] }),
    buildGguf({
      alignment: 64,
      kvs: [kv('general.alignment', 'u32', 64)],
      tensors: [{ dims: [5] }, { dims: [256, 2], dtype: 'Q6_K' }],
    }),
    buildGguf({ kvs, tensors: [] }),
    buildGguf({ kvs: kvs.slice(3), tensors: [{ dims: [64, 2], dtype: 'Q8_0' }, { dims: [1] }] }),
  ]
  return [...small, ...small, ...small, ...small, golden].map((bytes) => () => bytes)
}

function safetensorsSeeds(): (() => Buffer)[] {
  const fixture = (name: string): Buffer =>
    readFileSync(new URL(`../fixtures/safetensors/${name}.safetensors`, import.meta.url))
  const tensor = (name: string, dtype: string, shape: number[], size: number): FileTensor => {
    return { name, dtype, shape, bytes: Buffer.alloc(size, name.length) }
  }
  const small = [
    tensorsFile([tensor('w', 'F32', [2, 3], 24), tensor('a.b', 'BF16', [5], 10), tensor('', 'U8', [], 1)]),
    tensorsFile([tensor('z', 'F4', [4], 2), tensor('y', 'F6_E2M3', [4, 2], 6), tensor('x', 'I64', [0, 7], 0)], {
      format: 'pt',
      é: '\n',
    }),
    tensorsFile([]),
    fixture('meta'),
  ]
  return small.map((bytes) => () => bytes)
}
