/**
 * Blocks of random values have the bytes of llama.cpp's own library, and random blocks its values. Not among the usual tests,
 * for it fetches packages of 35 MB: `npx tap test/llama/blocks.ts --timeout=900`. Where they cannot be had the check is
 * skipped, and says so. `LLAMA_BLOCKS=1000000` compares so many super-blocks of 256 values of each type, and
 * `LLAMA_SEED=2` others.
 */
import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import { BLOCK_DTYPES, type BlockDType } from '../../dist/quant/block.js'
import { BLOCK_TYPES } from '../../dist/quant/block-types.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { differingBlocks, fitBlocks, patternsOf } from '../helpers/blocks.js'
import { randomBits } from '../helpers/random.js'
import { randomRows } from '../helpers/random-rows.js'
import { llamaLibraryOrWhyNot, type LlamaLibrary } from './library.js'

const COUNT = Number(process.env['LLAMA_BLOCKS'] ?? 20_000)
const SEED = Number(process.env['LLAMA_SEED'] ?? 1)
/** Super-blocks that are compared at once. */
const BATCH = 256
const batches = Array.from({ length: Math.ceil(COUNT / BATCH) }, (_, i) => SEED * 1_000_000 + i)

const kernel = createSimdKernel()
const found = llamaLibraryOrWhyNot()
if (typeof found === 'string') void test('the library of llama.cpp', { skip: found }, (t) => t.end())
else for (const dtype of BLOCK_DTYPES.filter((name) => BLOCK_TYPES[name])) compare(dtype, found)

function compare(dtype: BlockDType, library: LlamaLibrary): void {
  const { blockElements, blockBytes } = DTYPES[dtype]
  for (const isWeighted of [false, true]) {
    void test(`${dtype}${isWeighted ? ' with importance' : ''}: the bytes of llama.cpp for random values`, (t) => {
      const different: string[] = []
      for (const seed of batches) {
        const { values, rowElements, ...rest } = randomRows(seed, BATCH * 256)
        const importance = isWeighted ? rest.importance : undefined
        const expected = library.quantize(dtype, values, rowElements, importance)
        const blocks = differingBlocks(fitBlocks(dtype, values, kernel, { importance }), expected, blockBytes)
        if (blocks.length > 0) different.push(`rows of seed ${seed}: blocks ${blocks.join(', ')}`)
      }
      t.strictSame(different, [])
      t.end()
    })
  }

  if (BLOCK_TYPES[dtype]?.refined) {
    void test(`${dtype}: llama.cpp reads the values that the refined fit has chosen`, (t) => {
      const different = batches.filter((seed) => {
        const { values, importance } = randomRows(seed, BATCH * 256)
        const blocks = fitBlocks(dtype, values, kernel, {
          fit: 'refined',
          importance: seed % 2 ? importance : undefined,
        })
        const expected = patternsOf(library.dequantize(dtype, blocks))
        return Buffer.compare(bytesOf(patternsOf(dequantize(dtype, blocks))), bytesOf(expected)) !== 0
      })
      t.strictSame(different, [], 'seeds of rows')
      t.end()
    })
  }

  void test(`${dtype}: the values of llama.cpp for random blocks`, (t) => {
    const blocks = new Uint8Array(((BATCH * 256) / blockElements) * blockBytes)
    const different = batches.filter((seed) => {
      const next = randomBits(seed)
      for (let i = 0; i < blocks.length; i++) blocks[i] = next() >>> 24
      const expected = patternsOf(library.dequantize(dtype, blocks))
      return Buffer.compare(bytesOf(patternsOf(dequantize(dtype, blocks))), bytesOf(expected)) !== 0
    })
    t.strictSame(different, [], 'seeds of blocks')
    t.end()
  })
}

function bytesOf({ buffer }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer)
}
