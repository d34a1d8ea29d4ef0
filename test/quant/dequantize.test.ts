import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantize, dequantizeQ4K, type DType } from 'apr-stream'
import { SOURCES, halfValue, halfValues } from '../helpers/numbers.js'
import { arbitraryTensor, valuesOf } from '../helpers/files.js'

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))

void test('every float dtype decodes to the numbers that it holds', (t) => {
  for (const [dtype, make] of Object.entries(SOURCES)) {
    const { run, values } = make(4096)
    const head = dtype === 'APR_Q8' ? Buffer.from(Float32Array.of(run.scale ?? 0).buffer) : Buffer.of()
    const found = dequantize(dtype as DType, Buffer.concat([head, run.data]))
    t.same(Buffer.compare(Buffer.from(found.buffer), Buffer.from(values.buffer)), 0, dtype)
  }
  const floats = arbitraryTensor('w', 'F32', [3, 7])
  t.strictSame(dequantize('F32', floats.bytes), valuesOf(floats))
  t.end()
})

void test('integers decode to the nearest f32', (t) => {
  const largest = new DataView(new ArrayBuffer(16))
  largest.setBigInt64(0, 2n ** 62n + 1n, true)
  largest.setBigInt64(8, -3n, true)
  t.strictSame([...dequantize('I64', new Uint8Array(largest.buffer))], [2 ** 62, -3])
  t.strictSame([...dequantize('I32', Buffer.from(Int32Array.of(16_777_217, -1).buffer))], [16_777_216, -1])
  t.strictSame([...dequantize('I8', Buffer.of(0x80, 0x7f))], [-128, 127])
  t.strictSame([...dequantize('U8', Buffer.of(0x80, 0xff))], [128, 255])
  t.end()
})

void test('Q4_K decodes to the bits of the reference', (t) => {
  const expected = fixture('q4k/q4k-search.dequantized.f32')
  const blocks = fixture('q4k/q4k-search.bin')
  t.equal(Buffer.compare(Buffer.from(dequantize('Q4_K', blocks).buffer), expected), 0)
  t.equal(Buffer.compare(Buffer.from(dequantizeQ4K(blocks).buffer), expected), 0)
  t.end()
})

void test('Q6_K decodes as its layout says', (t) => {
  const blocks = fixture('q6k/q6k-ggml.bin')
  const found = dequantize('Q6_K', blocks)
  const expected = new Float32Array(found.length)
  const halves = halfValues()
  const { fround } = Math
  for (let block = 0; block < blocks.length / 210; block++) {
    const bytes = blocks.subarray(block * 210, (block + 1) * 210)
    const d = halfValue(halves, bytes.readUInt16LE(208))
    for (let half = 0; half < 2; half++) {
      for (let l = 0; l < 32; l++) {
        const low = bytes.readUInt8(half * 64 + l)
        const next = bytes.readUInt8(half * 64 + 32 + l)
        const high = bytes.readUInt8(128 + half * 32 + l)
        const values = [
          (low & 15) | ((high & 3) << 4),
          (next & 15) | (((high >> 2) & 3) << 4),
          (low >> 4) | (((high >> 4) & 3) << 4),
          (next >> 4) | (((high >> 6) & 3) << 4),
        ]
        values.forEach((value, run) => {
          const scale = bytes.readInt8(192 + half * 8 + run * 2 + (l >> 4))
          expected[block * 256 + half * 128 + run * 32 + l] = fround(fround(d * scale) * (value - 32))
        })
      }
    }
  }
  t.equal(Buffer.compare(Buffer.from(found.buffer), Buffer.from(expected.buffer)), 0)
  // And they are the numbers that were quantized, but for a small error.
  const source = new Float32Array(new Uint8Array(fixture('q4k/input.f32')).buffer).subarray(0, 24 * 256)
  const error = Math.hypot(...source.map((x, i) => x - (found[i] ?? 0))) / Math.hypot(...source)
  t.ok(error < 0.03, `relative error ${error}`)
  t.end()
})

void test('the padding of rows is left out where the columns are given', (t) => {
  const blocks = fixture('q4k/q4k-search-64x300.bin')
  const padded = dequantize('Q4_K', blocks)
  const found = dequantize('Q4_K', blocks, 300)
  t.equal(found.length, 64 * 300)
  t.ok(found.every((value, i) => value === padded[Math.floor(i / 300) * 512 + (i % 300)]))
  t.same(dequantize('F16', Buffer.alloc(8), 3).length, 4, 'other dtypes have no padding')
  t.end()
})

void test('what cannot be decoded is refused', (t) => {
  const refused = { name: 'AprError', code: 'APR_BAD_OPTION' }
  t.throws(() => dequantize('Q8_K', Buffer.alloc(292)), refused)
  t.throws(() => dequantize('toString' as DType, Buffer.alloc(176)), refused)
  t.throws(() => dequantize('F32', 'abcd' as unknown as Uint8Array), refused)
  t.throws(() => dequantize('F32', Buffer.alloc(5)), refused)
  t.throws(() => dequantize('Q4_K', Buffer.alloc(145)), refused)
  t.throws(() => dequantize('APR_Q8', Buffer.alloc(3)), refused)
  t.throws(() => dequantize('Q4_K', Buffer.alloc(144), 300), refused)
  t.throws(() => dequantize('Q4_K', Buffer.alloc(144), 0), refused)
  t.same(dequantize('Q6_K', Buffer.of()).length, 0)
  t.end()
})
