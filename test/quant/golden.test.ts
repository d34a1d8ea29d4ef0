import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantizeQ4K } from 'apr-stream'
import { bf16ToF32, f16ToF32, f32ToF16 } from '../../dist/quant/float.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import type { Fit, Kernel } from '../../dist/quant/kernel.js'
import { convertRun, quantizeRun, runBlocks, type Run, type Target } from '../../dist/quant/runs/run.js'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { bfloatValue, flat, halfValue, halfValues, nearestHalf, SOURCES } from '../helpers/numbers.js'
import { randomBits } from '../helpers/random.js'

const WIDENED = { dtype: 'F32', fit: 'search', isLenient: true } as const

interface Family {
  readonly name: string
  readonly firstBlock: number
  readonly blocks: number
}

const BLOCK_VALUES = 256
const BLOCK_BYTES = 144
const FITS: readonly Fit[] = ['search', 'minmax']
const KERNELS: Readonly<Record<string, () => Kernel>> = {
  scalar: () => createScalarKernel(),
  // So small a memory that every run is cut.
  'scalar, 3 blocks at a time': () => createScalarKernel(3),
  simd: () => createSimdKernel(),
}

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/q4k/${name}`, import.meta.url))
const families = JSON.parse(fixture('families.json').toString()) as Family[]

for (const [kernelName, createKernel] of Object.entries(KERNELS)) {
  const kernel = createKernel()

  for (const fit of FITS) {
    void test(`fit ${fit}, kernel ${kernelName}: the bytes of the reference for every family of data`, (t) => {
      const input = fixture('input.f32')
      const expected = fixture(`q4k-${fit}.bin`)
      const found = quantized(flat('F32', input), fit, kernel)
      const wrong = families.filter(({ firstBlock, blocks }) => {
        const part = (bytes: Uint8Array): Uint8Array =>
          bytes.subarray(firstBlock * BLOCK_BYTES, (firstBlock + blocks) * BLOCK_BYTES)
        return Buffer.compare(part(found), part(expected)) !== 0
      })
      t.strictSame(
        wrong.map(({ name }) => name),
        [],
      )
      t.equal(Buffer.compare(found, expected), 0, 'all bytes')
      t.end()
    })

    void test(`fit ${fit}, kernel ${kernelName}: the bytes of the reference for blocks that forgive no slip`, (t) => {
      const found = quantized(flat('F32', fixture('rare.f32')), fit, kernel)
      t.strictSame(differingBlocks(found, fixture(`rare-q4k-${fit}.bin`)), [])
      t.end()
    })

    void test(`fit ${fit}, kernel ${kernelName}: a row is padded with zeros to a whole super-block`, (t) => {
      const matrix = fixture('input.f32').subarray(0, 64 * 300 * 4)
      const found = quantized({ ...flat('F32', matrix), rowElements: 300 }, fit, kernel)
      const padded = Buffer.alloc(64 * 512 * 4)
      for (let row = 0; row < 64; row++) matrix.copy(padded, row * 512 * 4, row * 300 * 4, (row + 1) * 300 * 4)
      t.strictSame(differingBlocks(found, quantized(flat('F32', padded), fit, kernel)), [])
      t.equal(found.length, 64 * 2 * BLOCK_BYTES)
      t.end()
    })

    void test(`fit ${fit}, kernel ${kernelName}: the result may overwrite its source`, (t) => {
      const source = fixture('input.f32').subarray(0, 200 * BLOCK_VALUES * 4)
      for (const rowElements of [200 * BLOCK_VALUES, 320, 200]) {
        const run = { ...flat('F32', source), rowElements }
        const expected = quantized(run, fit, kernel)
        const memory = Uint8Array.from(source)
        t.notOk('bad' in quantizeRun({ ...run, data: memory }, q4k(fit), kernel, memory.subarray(0, expected.length)))
        t.strictSame(differingBlocks(memory.subarray(0, expected.length), expected), [], `rows of ${rowElements}`)
      }
      t.end()
    })

    void test(`fit ${fit}, kernel ${kernelName}: other dtypes give the bytes of their values as F32`, (t) => {
      for (const [dtype, make] of Object.entries(SOURCES)) {
        const { run, values } = make(300 * 64)
        const asF32 = flat('F32', Buffer.from(values.buffer))
        for (const rowElements of [300, 19_200]) {
          const found = quantized({ ...run, rowElements }, fit, kernel)
          t.strictSame(differingBlocks(found, quantized({ ...asF32, rowElements }, fit, kernel)), [], dtype)
        }
      }
      t.end()
    })
  }

  // The reference's own bytes for a matrix with padded rows.
  for (const fit of FITS) {
    void test(`fit ${fit}, kernel ${kernelName}: the bytes of the reference for rows of 300`, (t) => {
      const matrix = fixture('input.f32').subarray(0, 64 * 300 * 4)
      const found = quantized({ ...flat('F32', matrix), rowElements: 300 }, fit, kernel)
      t.strictSame(differingBlocks(found, fixture(`q4k-${fit}-64x300.bin`)), [])
      t.end()
    })
  }

  void test(`kernel ${kernelName}: a value that is not finite is refused and named, wherever it stands`, (t) => {
    const elements = 130 * 300
    for (const fit of FITS) {
      for (const element of [0, 1, 31, 32, 255, 256, 299, 300, elements - 1]) {
        for (const value of [NaN, Infinity, -Infinity]) {
          const values = new Float32Array(elements).fill(0.5)
          values[element] = value
          const run = { ...flat('F32', Buffer.from(values.buffer)), rowElements: 300 }
          const found = quantizeRun(run, q4k(fit), kernel, new Uint8Array(runBlocks(run, 'Q4_K') * BLOCK_BYTES))
          t.strictSame(found, { bad: { element, value } }, `${fit}, element ${element}, ${value}`)
        }
      }
    }
    t.end()
  })

  void test(`kernel ${kernelName}: F16 and BF16 widen exactly, every one of their 65,536 patterns`, (t) => {
    const patterns = Uint16Array.from({ length: 0x10000 }, (_, pattern) => pattern)
    const values = halfValues()
    for (const dtype of ['F16', 'BF16'] as const) {
      const target = new Uint8Array(patterns.length * 4)
      convertRun(flat(dtype, Buffer.from(patterns.buffer)), WIDENED, kernel, target)
      const found = new Float32Array(target.buffer)
      const wrong = patterns.filter((pattern) => {
        const expected = dtype === 'F16' ? halfValue(values, pattern) : bfloatValue(pattern)
        return !Object.is(found[pattern], expected)
      })
      t.strictSame([...wrong.subarray(0, 10)], [], dtype)
    }
    t.end()
  })

  void test(`kernel ${kernelName}: every dtype of numbers widens to the nearest F32`, (t) => {
    for (const [dtype, make] of Object.entries(SOURCES)) {
      const { run, values } = make(300 * 64)
      const target = new Uint8Array(values.byteLength)
      convertRun(run, WIDENED, kernel, target)
      t.equal(Buffer.compare(target, Buffer.from(values.buffer)), 0, dtype)
    }
    t.end()
  })
}

void test('Q4_K blocks decode to the values that llama.cpp decodes', (t) => {
  const values = dequantizeQ4K(fixture('q4k-search.bin'))
  t.equal(Buffer.compare(Buffer.from(values.buffer), fixture('q4k-search.dequantized.f32')), 0)
  t.end()
})

void test('every F16 pattern survives the way to a number and back', (t) => {
  const values = halfValues()
  for (let pattern = 0; pattern < 0x10000; pattern++) {
    const value = f16ToF32(pattern)
    if (!Object.is(value, halfValue(values, pattern))) t.fail(`pattern ${pattern} gives ${value}`)
    const isNaNPattern = (pattern & 0x7fff) > 0x7c00
    const back = f32ToF16(value)
    if (isNaNPattern ? (back & 0x7fff) <= 0x7c00 : back !== pattern) t.fail(`pattern ${pattern} comes back as ${back}`)
  }
  t.end()
})

void test('every BF16 pattern is the upper half of its F32', (t) => {
  for (let pattern = 0; pattern < 0x10000; pattern++) {
    if (!Object.is(bf16ToF32(pattern), bfloatValue(pattern))) t.fail(`pattern ${pattern} gives ${bf16ToF32(pattern)}`)
  }
  t.end()
})

void test('F32 becomes the nearest F16, ties to even', (t) => {
  const values = halfValues()
  const check = (value: number): void => {
    const expected = nearestHalf(values, value)
    const found = f32ToF16(value)
    if (found !== expected) t.fail(`${value} gives ${found}, not ${expected}`)
  }
  const f32 = new Float32Array(1)
  const bits = new Uint32Array(f32.buffer)
  // Every half, every middle of two, and the F32 neighbours of both.
  for (let pattern = 0; pattern < 0x7c00; pattern++) {
    const low = values[pattern] ?? 0
    const high = values[pattern + 1] ?? 0
    for (const value of [low, (low + high) / 2]) {
      f32[0] = value
      const exact = bits[0] ?? 0
      for (const neighbour of [exact - 1, exact, exact + 1]) {
        if (neighbour < 0) continue
        bits[0] = neighbour
        check(f32[0])
        check(-f32[0])
      }
    }
  }
  const next = randomBits(1)
  for (let i = 0; i < 200_000; i++) {
    bits[0] = next()
    const value = f32[0] ?? 0
    if (!Number.isNaN(value)) check(value)
  }
  t.end()
})

function q4k(fit: Fit): Target {
  return { dtype: 'Q4_K', fit }
}

function quantized(run: Run, fit: Fit, kernel: Kernel): Buffer {
  const target = Buffer.alloc(runBlocks(run, 'Q4_K') * BLOCK_BYTES)
  const found = quantizeRun(run, q4k(fit), kernel, target)
  if ('bad' in found) throw new Error(`element ${found.bad.element} is ${found.bad.value}`)
  return target
}

/** Indices of the super-blocks that are not the same; the first ten are enough to see. */
function differingBlocks(found: Uint8Array, expected: Uint8Array): number[] {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} bytes, found ${found.length}`)
  const blocks = Array.from({ length: expected.length / BLOCK_BYTES }, (_, block) => block)
  const part = (bytes: Uint8Array, block: number): Uint8Array =>
    bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
  return blocks.filter((block) => Buffer.compare(part(found, block), part(expected, block)) !== 0).slice(0, 10)
}
