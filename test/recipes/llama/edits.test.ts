import { kv, kvValue, type DType, type Kv, type TensorInfo } from 'apr-stream'
import { test } from 'tap'
import { copyModel } from '../../../dist/recipes/llama/copy-model.js'
import { kvsToDecideBy, parseKvOverride } from '../../../dist/recipes/llama/kv-overrides.js'
import { blockCount, pruneLayers } from '../../../dist/recipes/llama/prune-layers.js'

const tensors = (...names: string[]) => names.map((name) => ({ name, dtype: 'F32' as const, shape: [4], size: 16 }))
const namesOf = (...blocks: number[]): string[] => [
  'token_embd.weight',
  ...blocks.flatMap((block) => [`blk.${block}.attn_q.weight`, `blk.${block}.ffn_up.weight`]),
]

/** Numbers of the blocks that are left, by their new ones. */
function numbers(blocks: number[], layers: number[]): { sources: number[][]; blocks: number } {
  const pruned = pruneLayers(tensors(...namesOf(...blocks)), layers)
  const sources = [...pruned]
    .filter(([name]) => name.endsWith('attn_q.weight'))
    .map((pair) => pair.map((name) => Number(name.split('.')[1])))
  return { sources, blocks: blockCount(tensors(...pruned.keys())) }
}

void test('blocks behind those that are dropped get other numbers', (t) => {
  t.strictSame(numbers([0, 1, 2, 3], [1]), {
    sources: [
      [0, 0],
      [1, 2],
      [2, 3],
    ],
    blocks: 3,
  })
  t.strictSame(numbers([2, 10, 0, 1], [0, 10]), {
    sources: [
      [1, 2],
      [0, 1],
    ],
    blocks: 2,
  })
  t.strictSame(numbers([0, 1], [0, 1]), { sources: [], blocks: 0 })
  t.strictSame(numbers([0, 1], [7]), {
    sources: [
      [0, 0],
      [1, 1],
    ],
    blocks: 2,
  })
  t.end()
})

void test('what stands before the first dropped block keeps its number, whatever is missing', (t) => {
  t.strictSame(numbers([0, 3, 5, 9], [5]), {
    sources: [
      [0, 0],
      [3, 3],
      [4, 9],
    ],
    blocks: 5,
  })
  t.end()
})

void test('tensors of no block stay', (t) => {
  t.strictSame(
    [...pruneLayers(tensors(...namesOf(0, 1), 'output.weight'), [0])],
    [
      ['token_embd.weight', 'token_embd.weight'],
      ['blk.0.attn_q.weight', 'blk.1.attn_q.weight'],
      ['blk.0.ffn_up.weight', 'blk.1.ffn_up.weight'],
      ['output.weight', 'output.weight'],
    ],
  )
  t.end()
})

void test('rules read the first override of a key, of its own type', (t) => {
  const kvs: Kv[] = [kv('llama.block_count', 'u32', 4), kv('general.name', 'string', 'a'), kv('x', 'u16', 1)]
  const overrides = [
    'llama.block_count=int:2',
    'llama.block_count=int:3',
    'general.name=int:5',
    'x=int:2',
    'y=bool:true',
  ]
  const found = kvsToDecideBy(kvs, overrides.map(parseKvOverride))
  t.strictSame(Object.fromEntries(found.map((pair) => [pair.key, kvValue(pair)])), {
    ...{ 'general.name': 'a', 'llama.block_count': 2, x: 2, y: true },
  })
  t.end()
})

void test('a copy has the order, and the file type of most of its tensors where it has none', (t) => {
  const tensor = (name: string, dtype: DType, shape = [1, 256]) => ({ name, dtype, shape, size: 0 })
  const model = (tensors: TensorInfo[], ...kvs: Kv[]) => ({ format: 'gguf' as const, tensors, kvs })
  const tensors = [
    tensor('blk.10.a', 'Q4_K', [1, 1, 256]),
    tensor('blk.2.a', 'F32'),
    tensor('z', 'Q4_K'),
    tensor('a', 'F32', [2, 256]),
  ]
  const copied = copyModel(model(tensors, kv('general.quantization_version', 'u32', 1), kv('x', 'u8', 1)), false)
  t.strictSame(
    copied.tensors.map(({ name, shape }) => [name, ...shape]),
    [
      ['a', 2, 256],
      ['z', 256],
      ['blk.2.a', 256],
      ['blk.10.a', 256],
    ],
  )
  t.strictSame(
    copied.kvs.map((pair) => [pair.key, kvValue(pair)]),
    [
      ['x', 1],
      ['general.quantization_version', 2],
      ['general.file_type', 1024],
    ],
  )
  const quantized = copyModel(model([...tensors, tensor('b', 'Q4_K')]), true)
  t.equal(quantized.tensors[0]?.name, 'blk.10.a')
  t.equal(kvValue(quantized.kvs[1] as Kv), 1024 + 15)
  const told = copyModel(model(tensors, kv('general.file_type', 'u32', 7)), false)
  t.equal(kvValue(told.kvs[1] as Kv), 7)
  t.throws(() => copyModel(model(tensors, kv('general.file_type', 'i32', 7)), false), { code: 'APR_BAD_METADATA' })
  t.end()
})
