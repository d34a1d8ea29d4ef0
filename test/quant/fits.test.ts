import { test } from 'tap'
import { DTYPES } from '../../dist/model/dtypes.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { randomBits } from '../helpers/random.js'

const SUPER_BLOCKS = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const
const BLOCKS = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const

const scalar = createScalarKernel(256)
const simd = createSimdKernel()

const next = randomBits(6)
const random = (): number => next() / 2 ** 32
const sign = (): number => (random() < 0.5 ? -1 : 1)

/** One value of a kind that asks for a rare path; `scale` is the same for 16 values. */
const VALUES: Readonly<Record<string, (scale: number) => number>> = {
  'ties of opposite values': () => sign() * Math.ceil(random() * 4),
  'sub-blocks of zeros': (scale) => (scale < 0.3 ? sign() * 0 : sign() * random()),
  'about the least magnitude': () => sign() * 1e-15 * (0.5 + random()),
  'scales that decode to 0': (scale) => sign() * random() * 10 ** (-8 * scale),
  'below the scales of f16': () => sign() * 1e-6 * random(),
  'squares beyond f32': (scale) => sign() * 10 ** (38 * scale),
  'near the largest': () => sign() * 3e38 * random(),
  subnormal: () => sign() * 1e-40 * random(),
  constant: (scale) => scale,
  'all positive': (scale) => scale + 0.01 * random(),
  // With importance the best min can be 0 here, far above the values, and the scale negative.
  'negative, and as good as constant': (scale) => -scale * (1 + 1e-7 * Math.round(3 * random())),
  'negative, but for few as good as constant': (scale) => -scale * (1 + (random() < 0.05 ? 1e-3 : 1e-7) * random()),
}

/** What one value's importance is. */
const IMPORTANCES: Readonly<Record<string, (() => number) | undefined>> = {
  none: undefined,
  'of any size': () => 10 ** (4 * random() - 2),
  'of zeros': () => 0,
  'of zeros among others': () => (random() < 0.7 ? 0 : random()),
  'that underflows': () => 1e-42 * random(),
  'that overflows': () => 1e38 * random(),
}

for (const [kind, value] of Object.entries(VALUES)) {
  void test(`both kernels write the same bytes for values of the kind "${kind}"`, (t) => {
    for (const [importanceKind, importance] of Object.entries(IMPORTANCES)) {
      const isWeighted = importance !== undefined
      let scale = 0
      for (let i = 0; i < 32 * 256; i++) {
        if (i % 16 === 0) scale = random()
        scalar.input[i] = value(scale)
        scalar.importance[i] = importance?.() ?? 0
        if (i % 32 === 0) scalar.rowMeanSquares[i / 32] = Math.abs(value(scale)) * random()
      }
      simd.input.set(scalar.input)
      simd.importance.set(scalar.importance)
      simd.rowMeanSquares.set(scalar.rowMeanSquares)
      for (const dtype of [...SUPER_BLOCKS, ...BLOCKS]) {
        const { blockElements, blockBytes } = DTYPES[dtype]
        const blocks = (32 * 256) / blockElements
        const [expected, found] = [scalar, simd].map((kernel) => {
          t.ok(kernel.fit({ dtype, fit: 'search', isWeighted }, blocks))
          return kernel.output.slice(0, blocks * blockBytes)
        })
        const differing = differingBlocks(found ?? new Uint8Array(), expected ?? new Uint8Array(), blockBytes)
        t.strictSame(differing, [], `${dtype}, importance ${importanceKind}`)
      }
    }
    t.end()
  })
}

void test('any number of super-blocks has the same bytes, and nothing behind them is read or written', (t) => {
  for (const dtype of SUPER_BLOCKS) {
    const { blockBytes } = DTYPES[dtype]
    for (const isWeighted of [false, true]) {
      for (const blocks of [1, 2, 3, 4, 5, 9]) {
        const values = Float32Array.from({ length: blocks * 256 }, () => random() - 0.5)
        for (const kernel of [scalar, simd]) {
          kernel.input.fill(NaN)
          kernel.input.set(values)
          kernel.importance.fill(NaN)
          values.forEach((_, i) => (kernel.importance[i] = (i % 7) / 3))
          kernel.output.fill(0xaa)
          t.ok(kernel.fit({ dtype, fit: 'search', isWeighted }, blocks))
        }
        const found = simd.output.subarray(0, (blocks + 1) * blockBytes)
        const expected = scalar.output.subarray(0, found.length)
        t.strictSame(differingBlocks(found, expected, blockBytes), [], `${blocks} super-blocks of ${dtype}`)
      }
    }
  }
  t.end()
})

void test('a value that is not finite is refused wherever it stands, with importance and without', (t) => {
  for (const dtype of [...SUPER_BLOCKS, ...BLOCKS]) {
    for (const isWeighted of [false, true]) {
      for (const rest of [0, 0.5]) {
        for (const value of [NaN, Infinity, -Infinity]) {
          for (const element of [0, 1, 15, 16, 63, 64, 255, 256, 5 * 256 - 1]) {
            for (const kernel of [scalar, simd]) {
              kernel.input.fill(rest)
              kernel.input[element] = value
              kernel.importance.fill(rest)
              const isAccepted = kernel.fit(
                { dtype, fit: 'search', isWeighted },
                (5 * 256) / DTYPES[dtype].blockElements,
              )
              if (isAccepted) t.fail(`${dtype}, ${value} at ${element} among ${rest}`)
            }
          }
        }
      }
    }
  }
  t.end()
})

/** Indices of the blocks that are not the same; the first ten are enough to see. */
function differingBlocks(found: Uint8Array, expected: Uint8Array, blockBytes: number): number[] {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} bytes, found ${found.length}`)
  const part = (bytes: Uint8Array, block: number): Uint8Array =>
    bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
  const blocks = Array.from({ length: expected.length / blockBytes }, (_, block) => block)
  return blocks.filter((block) => Buffer.compare(part(found, block), part(expected, block)) !== 0).slice(0, 10)
}
