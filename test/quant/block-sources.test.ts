import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import { BLOCK_DTYPES } from '../../dist/quant/block.js'
import { convertRun, quantizeRun, runBlocks, type Run } from '../../dist/quant/runs/run.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { randomBits } from '../helpers/random.js'

const ELEMENTS = 64 * 256
// Rows that no super-block ends with, but blocks of 32 do.
const ROW_ELEMENTS = 320
const kernel = createSimdKernel()

for (const dtype of BLOCK_DTYPES) {
  void test(`${dtype} is quantized again as its decoded values are`, (t) => {
    const blocks = someBlocks(dtype)
    const decoded = dequantize(dtype, blocks)
    const isSuperBlock = DTYPES[dtype].blockElements === 256
    for (const start of [0, 32, 1000]) {
      const elements = ELEMENTS - 1024
      const rowElements = isSuperBlock ? elements : ROW_ELEMENTS
      const run: Run = { dtype, data: blocks, start, elements, rowElements }
      const asF32: Run = { ...run, dtype: 'F32', data: new Uint8Array(decoded.buffer) }
      for (const to of ['Q4_K', 'Q8_0'] as const) {
        const target = { dtype: to, fit: 'search' } as const
        const [found, expected] = [run, asF32].map((source) => {
          const result = new Uint8Array(runBlocks(source, to) * DTYPES[to].blockBytes)
          t.notOk('bad' in quantizeRun(source, target, kernel, result))
          return result
        })
        t.equal(Buffer.compare(found ?? Buffer.of(), expected ?? Buffer.of()), 0, `to ${to} from element ${start} on`)
      }
      const floats = new Uint8Array(elements * 4)
      t.equal(convertRun(run, { dtype: 'F32', fit: 'search' }, kernel, floats), undefined)
      t.equal(
        Buffer.compare(floats, Buffer.from(decoded.buffer, start * 4, elements * 4)),
        0,
        `to F32 from ${start} on`,
      )
    }
    t.end()
  })
}

/** Blocks of values of many magnitudes. */
function someBlocks(dtype: (typeof BLOCK_DTYPES)[number]): Uint8Array {
  const next = randomBits(11)
  const scalar = createScalarKernel(ELEMENTS / 256)
  for (let i = 0; i < ELEMENTS; i++) scalar.input[i] = (next() / 2 ** 32 - 0.4) * 2 ** ((i >> 5) % 7)
  const blocks = ELEMENTS / DTYPES[dtype].blockElements
  scalar.fit({ dtype, fit: 'search' }, blocks)
  return scalar.output.slice(0, blocks * DTYPES[dtype].blockBytes)
}
