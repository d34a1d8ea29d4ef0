/** The fit "refined": its bytes, the same of both kernels, and that it leaves less error than llama.cpp's search. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import type { Fit, Kernel } from '../../dist/quant/kernel.js'
import { quantizeRun } from '../../dist/quant/runs/run.js'
import { performTask } from '../../dist/quant/runs/task.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { differingBlocks, fitBlocks } from '../helpers/blocks.js'
import { flat } from '../helpers/numbers.js'
import { randomRows } from '../helpers/random-rows.js'
import { randomBits } from '../helpers/random.js'

const DTYPES_REFINED = ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K'] as const
type Refined = (typeof DTYPES_REFINED)[number]

interface Family {
  readonly name: string
  readonly firstBlock: number
  readonly blocks: number
}

/** SHA-256 of the refined blocks of `input.f32`, without importance and with it: they are to stay what they are. */
const GOLDEN: Readonly<Record<Refined, readonly [plain: string, weighted: string]>> = {
  Q2_K: [
    'f8396e0b5f8a9f1a87496d8e4378d57f8785af4f6ea888fd40c14841686a6f56',
    'cec57d96db074f73ea465d0f165e3758a2eddf2caef8f09a225beceda310663c',
  ],
  Q3_K: [
    'd9dfdaea910b79cec366dec5a513becd6d9af478df15b5931a93fe521dcf1f3c',
    '53f366a763a6ab9cf52a2df1e2fc8c3f6ab227dc17a7c8b8f5bd84a25275dc5a',
  ],
  Q4_K: [
    'eb1e906ee10274dfe3beb4a2365a582bcded07f61281688cf84236664a80873e',
    'a72ed9bac4d0932d2e48ac020df27c80b55c609c348c7c25a690522c4e959d2f',
  ],
  Q5_K: [
    '65d2592a0987c8c88689f2f606fc33bfe8a6c34069b426597f8ef3bb1a386d14',
    'af2b70be6ec69c975bde54e2983c8ab33395bb87b262a32313fe59e2ef9b9436',
  ],
  Q6_K: [
    '6527ebc0c270a6fb1b6053532c7697ca60b41a5049d40f87193e3b29afa316db',
    'ac1f1c5c726713df0e9b23b3e64a50a0e5bd58a008402dac86dae5290bb5a771',
  ],
}

/** What rounding a scale to half precision may cost: below it, one fit is as good as another. */
const HALF_ERROR = 2 ** -11

const scalar = createScalarKernel(256)
const simd = createSimdKernel()
const url = (name: string): URL => new URL(`../fixtures/q4k/${name}`, import.meta.url)
const input = new Float32Array(Uint8Array.from(readFileSync(url('input.f32'))).buffer)
const families = JSON.parse(readFileSync(url('families.json')).toString()) as Family[]
/** A row of 24 super-blocks, as a family has: log-normal, about. */
const importance = ((): Float32Array => {
  const next = randomBits(14)
  const uniform = (): number => next() / 2 ** 32
  return Float32Array.from({ length: 24 * 256 }, () => 16 ** (uniform() + uniform() + uniform() - 1.5))
})()

for (const dtype of DTYPES_REFINED) {
  for (const [index, weights] of [undefined, importance].entries()) {
    const what = `${dtype}${weights ? ' with importance' : ''}`
    const fitted = (fit: Fit, kernel: Kernel): Uint8Array =>
      fitBlocks(dtype, input, kernel, { fit, importance: weights })

    void test(`${what}, refined: the same bytes as ever, of both kernels`, (t) => {
      for (const kernel of [scalar, simd]) {
        t.equal(createHash('sha256').update(fitted('refined', kernel)).digest('hex'), GOLDEN[dtype][index])
      }
      t.end()
    })

    void test(`${what}, refined: for no family of data more error than the search leaves`, (t) => {
      const refined = dequantize(dtype, fitted('refined', simd))
      const searched = dequantize(dtype, fitted('search', simd))
      t.ok(refined.every(Number.isFinite), 'every value is a number, also of values beyond all scales')
      // With importance the search weighs large values more: for grids of whole numbers that happens to be better.
      const most = weights ? 1.006 : 1
      let gains = 0
      for (const { name, firstBlock, blocks } of families) {
        const range = [firstBlock * 256, (firstBlock + blocks) * 256] as const
        const error = relativeError(refined, range, weights)
        const before = relativeError(searched, range, weights)
        // Where the search has none, its scale is infinite.
        if (!(error <= before * most || error < HALF_ERROR || Number.isNaN(before))) {
          t.fail(`${name}: ${error}, not ${before}`)
        }
        if (error < before) gains++
      }
      t.ok(gains > families.length / 2, 'less error for most')
      t.end()
    })
  }

  void test(`${dtype}, refined: both kernels write the same bytes for random values of many kinds`, (t) => {
    for (let seed = 1; seed <= 24; seed++) {
      const { values, importance } = randomRows(seed, 8 * 256)
      for (const weights of [undefined, importance]) {
        const [expected, found] = [scalar, simd].map((kernel) =>
          fitBlocks(dtype, values, kernel, { fit: 'refined', importance: weights }),
        ) as [Uint8Array, Uint8Array]
        t.strictSame(differingBlocks(found, expected, DTYPES[dtype].blockBytes), [], `seed ${seed}`)
        if (!dequantize(dtype, found).every(Number.isFinite)) t.fail(`seed ${seed} is not finite`)
      }
    }
    t.end()
  })

  void test(`${dtype}, refined: values that a scale of half precision is too coarse for keep their precision`, (t) => {
    const next = randomBits(3)
    const values = Float32Array.from({ length: 16 * 256 }, () => 1e-4 * (next() / 2 ** 32 - 0.5))
    const large = values.map((v) => v * 2 ** 14)
    const errorsOf = (x: Float32Array): number => {
      const decoded = dequantize(dtype, fitBlocks(dtype, x, simd, { fit: 'refined' }))
      return Math.sqrt(sum(x, (v, i) => (v - (decoded[i] ?? 0)) ** 2) / sum(x, (v) => v * v))
    }
    t.ok(errorsOf(values) < 1.2 * errorsOf(large), `${errorsOf(values)}, ${errorsOf(large)}`)
    const run = flat('F32', Buffer.from(values.buffer))
    const found = quantizeRun(run, { dtype, fit: 'refined' }, simd, new Uint8Array(16 * DTYPES[dtype].blockBytes))
    t.strictSame(found, { lost: { blocks: 0, greatest: 0 } }, 'and are not said to be lost')
    t.end()
  })

  void test(`${dtype}, refined: a value that is not finite is refused wherever it stands`, (t) => {
    for (const kernel of [scalar, simd]) {
      for (const value of [NaN, Infinity, -Infinity]) {
        for (const element of [0, 15, 16, 255, 256, 3 * 256 - 1]) {
          kernel.input.fill(0.5)
          kernel.input[element] = value
          if (kernel.fit({ dtype, fit: 'refined' }, 3)) t.fail(`${value} at ${element}`)
        }
      }
    }
    t.end()
  })

  void test(`${dtype}, refined: values larger than its scales reach are told, and name their block`, (t) => {
    const values = new Float32Array(3 * 256).fill(0.25).map((v, i) => (i === 300 ? 1e10 : i % 2 ? v : -v))
    const run = flat('F32', Buffer.from(values.buffer))
    t.strictSame(performTask({ run, to: { dtype, fit: 'refined' }, mayOverwrite: false }, simd), { hugeBlock: 1 })
    t.end()
  })
}

void test('block types without a refined fit have the bytes of the search', (t) => {
  const { values, importance } = randomRows(5, 8 * 256)
  for (const dtype of ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL', 'IQ4_XS'] as const) {
    for (const kernel of [scalar, simd]) {
      for (const weights of [undefined, importance]) {
        const [expected, found] = (['search', 'refined'] as const).map((fit) =>
          fitBlocks(dtype, values, kernel, { fit, importance: weights }),
        ) as [Uint8Array, Uint8Array]
        t.equal(Buffer.compare(expected, found), 0, dtype)
      }
    }
  }
  t.end()
})

void test('importance counts by its proportions: not by its size', (t) => {
  const row = importance.subarray(0, 1024)
  const values = input.subarray(0, 4096)
  for (const dtype of DTYPES_REFINED) {
    const [expected, ...others] = [1, 2 ** -100, 2 ** 90].map((factor) =>
      fitBlocks(dtype, values, simd, { fit: 'refined', importance: row.map((u) => u * factor) }),
    ) as [Uint8Array, ...Uint8Array[]]
    for (const found of others) t.equal(Buffer.compare(expected, found), 0, dtype)
  }
  t.end()
})

/** Root of the weighted mean square error, in parts of that of the values; of values that are all 0, and of what is. */
function relativeError(
  decoded: Float32Array,
  [first, end]: readonly [number, number],
  weights: Float32Array | undefined,
): number {
  const x = input.subarray(first, end)
  const weightOf = (i: number): number => weights?.[(first + i) % weights.length] ?? 1
  const errors = sum(x, (v, i) => weightOf(i) * (v - (decoded[first + i] ?? 0)) ** 2)
  const squares = sum(x, (v, i) => weightOf(i) * v * v)
  return errors === 0 ? 0 : Math.sqrt(errors / squares)
}

function sum(values: Float32Array, term: (v: number, i: number) => number): number {
  return values.reduce((total, v, i) => total + term(v, i), 0)
}
