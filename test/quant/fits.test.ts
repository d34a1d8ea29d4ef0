import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import type { BlockDType } from '../../dist/quant/block.js'
import type { Kernel } from '../../dist/quant/kernel.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { randomBits } from '../helpers/random.js'

const SUPER_BLOCKS = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const
const BLOCKS = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1'] as const

interface Golden {
  readonly dtype: BlockDType
  readonly isWeighted: boolean
  /** SHA-256 of the blocks that llama.cpp's library makes, and of the f32 values that it decodes them to. */
  readonly bytes: string
  readonly decoded: string
  /** Its blocks of the values in `rare/`. */
  readonly rare?: string
}

/** Of `input.f32`; with importance, the matrix has one row for 24 super-blocks. */
const GOLDEN: readonly Golden[] = [
  {
    dtype: 'Q3_K',
    isWeighted: false,
    bytes: '72d33b0b186f92551229f55009329aea871339194d71be4bc1395940973023f8',
    decoded: '275744799cd83b127126da6f41f8444e9625d53f422f1e536c7b920a3050234b',
    rare: 'q3k.bin',
  },
  {
    dtype: 'Q3_K',
    isWeighted: true,
    bytes: '12b86bf435bf160887b237e96973a0fbdd170bf441e811cd81f0005cd5499b58',
    decoded: 'f760a5e261c03db78cff87e6751d690aee1b52c5bbbb5ebe5624864ebcd5314b',
    rare: 'q3k-imatrix.bin',
  },
  {
    dtype: 'Q6_K',
    isWeighted: false,
    bytes: '5b87f5cf9cff12afcaca968eb54c6ab7f1e5004edfaf27ce74251f2503af788b',
    decoded: '3a7dc0da34fefbf6bee0e2fc93922cc26db301d8d4730f26d7474c33680dc601',
    rare: 'q6k.bin',
  },
  {
    dtype: 'Q6_K',
    isWeighted: true,
    bytes: '6a3883e699e371622ed909c6b1536b775edacb09f3cad72003622a15d8fe8652',
    decoded: '0f3863ae8e9c1ec66c129544174db205c826613764b294f72aaf39b10cd36e9b',
    rare: 'q6k-imatrix.bin',
  },
  {
    dtype: 'Q2_K',
    isWeighted: false,
    bytes: '165f912ba17fb8d19e90ef4f4d5c06df91f3c6cac11392ca802c5443cf9ca839',
    decoded: '8b9d8257c40ae2cf276df2a6b82ea876d9bc57b2a2f241118b4eb72b79614af5',
    rare: 'q2k.bin',
  },
  {
    dtype: 'Q2_K',
    isWeighted: true,
    bytes: '13863d0f0319fe8fc71951b04245d99725c2aac38ff046710157785f0855b64a',
    decoded: '4dfac53928608c45a8b86b64c2203bcd19457ada14579c4145b2712ff5e435a5',
    rare: 'q2k-imatrix.bin',
  },
  {
    dtype: 'Q4_K',
    isWeighted: false,
    bytes: 'a6971778da8f73ffd957d362bde15b1936da2a7759388782a5f7239e182ef792',
    decoded: '3daf6a21a440f61f9605dd7881d295517467aebd7df1a9e165454d32b90fcdbb',
    rare: 'q4k.bin',
  },
  {
    dtype: 'Q4_K',
    isWeighted: true,
    bytes: '76755eaf5f807992615e7416774cd51a8c3536df4f47cd7e62983edb8fd10a7f',
    decoded: '9ff1b6640617bad2b73b964728197dc053156b2c7420a5d1b9dfcd982afcc73b',
    rare: 'q4k-imatrix.bin',
  },
  {
    dtype: 'Q5_K',
    isWeighted: false,
    bytes: '75ae6bb3d38d8f010ba03a44765242b3212a2c12f36719dd79d5fa7ddd2bd178',
    decoded: 'bba9f0456a544aa4c7b81404c2adca7d00b75654f454faa232cd89a05769569e',
    rare: 'q5k.bin',
  },
  {
    dtype: 'Q5_K',
    isWeighted: true,
    bytes: '2833216529417233b847fad6bd6eeb897b1d78245e794048d8b361e456edccc8',
    decoded: 'c0e8b63494c5b5f344613cf47b9e55a53a17a218bade12e43f5695caa2101432',
    rare: 'q5k-imatrix.bin',
  },
  {
    dtype: 'Q4_1',
    isWeighted: true,
    bytes: '5d031799440011181f3c6e8b82ea7c8567fb04fed924b0c4ab07cda1cb60deb1',
    decoded: '383e385490783349e6de8fbce0ec8dca0c4339129deeb7b346c36a53b3fda384',
  },
  {
    dtype: 'Q5_1',
    isWeighted: true,
    bytes: '386061cfa0e598f5687d25c3edac03727e233741f22478d17e7931f9a9a881f2',
    decoded: '8aac0c5aafd156b39ca2f83dc4ad74a0a10f8dabaaccfd45173602a862a56521',
  },
  {
    dtype: 'Q4_0',
    isWeighted: true,
    bytes: 'c697774ebf029d3e371a3416633becfcc33dba396b71cd71d12bf5af695b4393',
    decoded: 'f170e9fdc74ee4797e368b5964f572ee50bd372ebbeaedfa3a653ea4051335d7',
  },
  {
    dtype: 'Q5_0',
    isWeighted: true,
    bytes: 'fb6c1c1f590fe2ab79b0b03db0fe818de5797e1e2162fd4c3cdd678683ae04ad',
    decoded: 'bbfbb7926edfb74f8d37bea7979bd6473265df6a73fb176f458780fd15306953',
  },
]

const scalar = createScalarKernel(256)
const simd = createSimdKernel()
const KERNELS: Readonly<Record<string, Kernel>> = { scalar, simd }

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
const floats = (name: string): Float32Array => new Float32Array(Uint8Array.from(fixture(name)).buffer)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

for (const { dtype, isWeighted, bytes, decoded, rare } of GOLDEN) {
  for (const [kernelName, kernel] of Object.entries(KERNELS)) {
    const what = `${dtype}${isWeighted ? ' with importance' : ''}, kernel ${kernelName}`

    void test(`${what}: the bytes of llama.cpp for every family of data, and the values that they decode to`, (t) => {
      const importance = isWeighted ? floats('kquants/imatrix.f32') : undefined
      const found = blocksOf(dtype, floats('q4k/input.f32'), kernel, importance)
      t.equal(sha256(found), bytes)
      const patterns = new Uint32Array(dequantize(dtype, found).buffer)
      const canonical = patterns.map((pattern) => ((pattern & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : pattern))
      t.equal(sha256(new Uint8Array(canonical.buffer)), decoded)
      t.end()
    })

    if (rare === undefined) continue
    void test(`${what}: the bytes of llama.cpp for blocks that forgive no slip`, (t) => {
      const importance = isWeighted ? floats('kquants/rare/imatrix.f32') : undefined
      const found = blocksOf(dtype, floats('kquants/rare/input.f32'), kernel, importance)
      t.strictSame(differingBlocks(found, fixture(`kquants/rare/${rare}`), DTYPES[dtype].blockBytes), [])
      t.end()
    })
  }
}

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

/** @param importance of a row, the same for all rows */
function blocksOf(dtype: BlockDType, values: Float32Array, kernel: Kernel, importance?: Float32Array): Uint8Array {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const found = new Uint8Array((values.length / blockElements) * blockBytes)
  const meanSquares = importance ? rowMeanSquares(values, importance.length) : []
  for (let first = 0; first < values.length; first += kernel.input.length) {
    const part = values.subarray(first, first + kernel.input.length)
    kernel.input.set(part)
    if (importance) {
      part.forEach((_, i) => (kernel.importance[i] = importance[(first + i) % importance.length] ?? 0))
      for (let i = 0; i < part.length; i += 32) {
        kernel.rowMeanSquares[i / 32] = meanSquares[Math.floor((first + i) / importance.length)] ?? 0
      }
    }
    const blocks = part.length / blockElements
    const isFinite = kernel.fit({ dtype, fit: 'search', isWeighted: importance !== undefined }, blocks)
    if (!isFinite) throw new Error(`a value of ${dtype} is not finite`)
    found.set(kernel.output.subarray(0, blocks * blockBytes), (first / blockElements) * blockBytes)
  }
  return found
}

/** `sum(x * x) / n` of each row. */
function rowMeanSquares(values: Float32Array, rowElements: number): number[] {
  const { fround } = Math
  return Array.from({ length: values.length / rowElements }, (_, row) => {
    const x = values.subarray(row * rowElements, (row + 1) * rowElements)
    return fround(x.reduce((sum, v) => fround(sum + fround(v * v)), 0) / rowElements)
  })
}

/** Indices of the blocks that are not the same; the first ten are enough to see. */
function differingBlocks(found: Uint8Array, expected: Uint8Array, blockBytes: number): number[] {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} bytes, found ${found.length}`)
  const part = (bytes: Uint8Array, block: number): Uint8Array =>
    bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
  const blocks = Array.from({ length: expected.length / blockBytes }, (_, block) => block)
  return blocks.filter((block) => Buffer.compare(part(found, block), part(expected, block)) !== 0).slice(0, 10)
}
