import { test } from 'tap'
import { DTYPES } from '../../dist/model/dtypes.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { randomBits } from '../helpers/random.js'

// The SIMD kernel takes four of these blocks at a time.
const BLOCKS_OF_32 = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL'] as const
const scalar = createScalarKernel()
const simd = createSimdKernel()

void test('any number of blocks of 32 has the same bytes, whatever stands behind them', (t) => {
  const next = randomBits(32)
  for (const dtype of BLOCKS_OF_32) {
    const { blockBytes } = DTYPES[dtype]
    for (const isWeighted of [false, true]) {
      for (const blocks of [1, 2, 3, 4, 5, 63, 64, 65, 130]) {
        const values = Float32Array.from({ length: blocks * 32 }, () => next() / 2 ** 32 - 0.5)
        for (const kernel of [scalar, simd]) {
          kernel.input.fill(NaN)
          kernel.input.set(values)
          kernel.importance.forEach((_, i) => (kernel.importance[i] = (i % 7) / 3))
          kernel.rowMeanSquares.fill(0.1)
          t.ok(kernel.fit({ dtype, fit: 'search', isWeighted }, blocks))
        }
        const bytes = blocks * blockBytes
        const isSame = Buffer.compare(scalar.output.subarray(0, bytes), simd.output.subarray(0, bytes)) === 0
        t.ok(isSame, `${blocks} blocks of ${dtype}${isWeighted ? ' with importance' : ''}`)
      }
    }
  }
  t.end()
})

void test('a value that is not finite is refused in every block of 32', (t) => {
  for (const dtype of BLOCKS_OF_32) {
    for (const value of [NaN, Infinity, -Infinity]) {
      for (const element of [0, 31, 32, 127, 64 * 32 - 1, 64 * 32, 65 * 32 - 1]) {
        for (const kernel of [scalar, simd]) {
          kernel.input.fill(0.5)
          kernel.input[element] = value
          t.notOk(kernel.fit({ dtype, fit: 'search' }, 65), `${dtype}, ${value} at ${element}`)
        }
      }
    }
  }
  t.end()
})

void test('the first of values that tie decides, and a zero keeps its sign', (t) => {
  // Of -1 and 1 the first is the one that the lowest code stands for; of -0 and 0 the first is the min.
  for (const dtype of BLOCKS_OF_32) {
    for (const pattern of [
      [0.25, 1, -1],
      [0.25, -1, 1],
      [-0, 0],
      [0, -0],
      [1, -0, 0],
      [1, 0, -0],
      [-0],
      [0],
      [-1, -0],
    ]) {
      for (const offset of [0, 5, 30]) {
        const values = Float32Array.from({ length: 4 * 32 }, (_, i) => {
          const place = (i % 32) - offset
          return (i % 32 < offset ? pattern[0] : (pattern[place % pattern.length] ?? 0)) ?? 0
        })
        const outputs = [scalar, simd].map((kernel) => {
          kernel.input.set(values)
          t.ok(kernel.fit({ dtype, fit: 'search' }, 4))
          return Buffer.from(kernel.output.slice(0, 4 * DTYPES[dtype].blockBytes)).toString('hex')
        })
        t.equal(outputs[1], outputs[0], `${dtype}, ${pattern.join(' ')} from ${offset}`)
      }
    }
  }
  t.end()
})
