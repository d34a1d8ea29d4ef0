/**
 * Compares the SIMD kernel with the scalar reference, all bytes, on random values of many kinds: every block type, with
 * importance and without. `npm run fuzz-kernel -- --blocks 1000000 --seed 1 --type Q4_K --fit search`: a million super-blocks of one type
 * take five minutes or less a core. What is different is told with its seed.
 */
import { parseArgs } from 'node:util'
import { DTYPES } from '../../dist/model/dtypes.js'
import { BLOCK_DTYPES, type BlockDType } from '../../dist/quant/block.js'
import { BLOCK_TYPES } from '../../dist/quant/block-types.js'
import type { Fit } from '../../dist/quant/kernel.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { differingBlocks, fitBlocks } from '../helpers/blocks.js'
import { randomRows } from '../helpers/random-rows.js'

const FITS: readonly Fit[] = ['search', 'minmax', 'refined']
/** Super-blocks that are compared at once. */
const BATCH = 64

const { values: flags } = parseArgs({
  options: {
    blocks: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    type: { type: 'string', multiple: true },
    fit: { type: 'string', multiple: true },
  },
})
const count = Number(flags.blocks)
const scalar = createScalarKernel(BATCH)
const simd = createSimdKernel()
let findings = 0

for (const dtype of BLOCK_DTYPES.filter((name) => BLOCK_TYPES[name] && (flags.type?.includes(name) ?? true))) {
  for (const fit of FITS.filter((name) => BLOCK_TYPES[dtype]?.[name] && (flags.fit?.includes(name) ?? true))) {
    compare(dtype, fit, false)
    if (fit !== 'minmax') compare(dtype, fit, true)
  }
}
if (findings > 0) process.exitCode = 1

function compare(dtype: BlockDType, fit: Fit, isWeighted: boolean): void {
  const what = `${dtype}, ${fit}${isWeighted ? ' with importance' : ''}`
  let different = 0
  for (let compared = 0, seed = Number(flags.seed) * 1_000_000; compared < count; compared += BATCH, seed++) {
    const { values, rowElements, ...rest } = randomRows(seed, BATCH * 256)
    const importance = isWeighted ? rest.importance : undefined
    const [expected, found] = [scalar, simd].map((kernel) => fitBlocks(dtype, values, kernel, { fit, importance }))
    const blocks = differingBlocks(found as Uint8Array, expected as Uint8Array, DTYPES[dtype].blockBytes)
    if (blocks.length === 0) continue
    different++
    console.log(`${what}: rows of ${rowElements} of seed ${seed} differ in blocks ${blocks.join(', ')}`)
  }
  findings += different
  console.log(`${what}: ${count} super-blocks, ${different} batches of ${BATCH} differ`)
}
