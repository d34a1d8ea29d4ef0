import { test } from 'tap'
import { firstNotFinite } from '../../../dist/quant/runs/finite.js'

const largest = [0x7f7fffff, 0xff7fffff, 0x007f8000, 0x80000000]

void test('the first NaN or infinity among F32', (t) => {
  const finite = Uint32Array.from(largest)
  t.equal(firstNotFinite('F32', new Uint8Array(finite.buffer)), undefined)
  for (const bits of [0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff]) {
    const bytes = new Uint8Array(Uint32Array.from([...largest, bits, bits]).buffer)
    t.equal(firstNotFinite('F32', bytes), 4)
  }
  t.end()
})

void test('the first among floats of two and eight bytes', (t) => {
  const of = (...values: number[]) => new Uint8Array(Uint16Array.from(values).buffer)
  t.equal(firstNotFinite('F16', of(0x7bff, 0xfbff, 0x03ff)), undefined)
  t.equal(firstNotFinite('F16', of(0x7bff, 0x7c00)), 1)
  t.equal(firstNotFinite('F16', of(0xfe01)), 0)
  t.equal(firstNotFinite('BF16', of(0x7f7f, 0xff7f, 0x7c00)), undefined)
  t.equal(firstNotFinite('BF16', of(0x7f7f, 0xff80)), 1)
  t.equal(firstNotFinite('F64', new Uint8Array(Float64Array.of(1e308, -5e-324).buffer)), undefined)
  t.equal(firstNotFinite('F64', new Uint8Array(Float64Array.of(1, NaN).buffer)), 1)
  t.equal(firstNotFinite('I32', new Uint8Array(4).fill(0xff)), undefined)
  t.end()
})
