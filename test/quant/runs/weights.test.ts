/** Conversions between F32, F16 and BF16: every half, and any f32, in both kernels. */
import { test } from 'tap'
import { bf16ToF32, f16ToF32, f32ToBF16, f32ToF16 } from '../../../dist/quant/float.js'
import { createScalarKernel } from '../../../dist/quant/scalar.js'
import type { WeightDType } from '../../../dist/quant/kernel.js'
import { createSimdKernel } from '../../../dist/quant/simd.js'
import { checkWeights, convertWeights, type WeightConversion } from '../../../dist/quant/runs/weights.js'
import { sameBytes } from '../../helpers/files.js'
import { randomBits } from '../../helpers/random.js'

const KERNELS = { scalar: createScalarKernel(3), simd: createSimdKernel() }
const DTYPES: readonly WeightDType[] = ['F32', 'F16', 'BF16']
const BYTES = { F32: 4, F16: 2, BF16: 2 }
const VALUE_OF = { F16: f16ToF32, BF16: bf16ToF32 }
const PATTERN_OF = { F16: f32ToF16, BF16: f32ToBF16 }

/** All patterns of 16 bits that are finite numbers up to what F16 can hold. */
const halves = (dtype: 'F16' | 'BF16'): Uint16Array => {
  const all = Uint16Array.from({ length: 0x1_0000 }, (_, i) => i)
  return all.filter((pattern) => Math.abs(VALUE_OF[dtype](pattern)) <= 65_504)
}

/** Any patterns of f32 that are numbers up to what F16 can hold, and those right between two halves. */
function singles(): Float32Array {
  const next = randomBits(7)
  const bits = new Uint32Array(300_003)
  for (let i = 0; i < bits.length; i++) {
    // Ties, and their neighbours: half of the last bit of an F16 or a BF16, from subnormals on.
    const tie = i % 3 === 0 ? 0x1000 : 0x8000
    const any = next()
    bits[i] = i % 5 === 0 ? ((any & ~(2 * tie - 1)) | tie) + (i % 7) - 3 : any
  }
  return new Float32Array(bits.buffer).filter((value) => Math.abs(value) <= 65_504)
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

const SOURCES = { F32: bytesOf(singles()), F16: bytesOf(halves('F16')), BF16: bytesOf(halves('BF16')) }

for (const dtype of ['F16', 'BF16'] as const) {
  void test(`an f32 becomes the nearest ${dtype}, ties the even one, and every ${dtype} itself`, (t) => {
    const valueOf = VALUE_OF[dtype]
    const patternOf = PATTERN_OF[dtype]
    const wrong = [...singles()].filter((value) => {
      const pattern = patternOf(value)
      const off = Math.abs(valueOf(pattern) - value)
      // The two neighbours, of whom the one below zero is on the other side of it.
      return [pattern - 1, pattern + 1].some((other) => {
        if ((other & 0x8000) !== (pattern & 0x8000) || other < 0) return false
        const offOther = Math.abs(valueOf(other) - value)
        return offOther < off || (offOther === off && pattern % 2 === 1)
      })
    })
    t.strictSame(wrong, [])
    t.strictSame(
      [...halves(dtype)].filter((pattern) => patternOf(valueOf(pattern)) !== pattern),
      [],
    )
    t.end()
  })
}

for (const from of DTYPES) {
  for (const to of DTYPES) {
    for (const add of [undefined, 1]) {
      void test(`both kernels make the same ${to} of ${from}${add === undefined ? '' : ' plus a number'}`, (t) => {
        // Not from the start of its memory, and no whole number of vectors.
        const source = new Uint8Array([0, 0, 0, 0, ...SOURCES[from]]).subarray(4)
        const conversion: WeightConversion = { from, to, add }
        const results = Object.values(KERNELS).map((kernel) => {
          const target = new Uint8Array((source.length / BYTES[from]) * BYTES[to])
          t.equal(convertWeights(conversion, kernel, source, target), undefined)
          return target
        })
        const [scalar = source, simd = source] = results
        sameBytes(t, simd, scalar, 'simd')
        if (from === to && add === undefined) sameBytes(t, simd, source, 'unchanged')
        t.end()
      })
    }
  }
}

void test('a number is added to F16 in F16, to BF16 in f32', (t) => {
  const oneOf = (from: 'F16' | 'BF16', pattern: number): number => {
    const target = new Uint8Array(4)
    convertWeights({ from, to: 'F32', add: 1 }, KERNELS.simd, bytesOf(Uint16Array.of(pattern)), target)
    return new Float32Array(target.buffer)[0] ?? NaN
  }
  t.equal(oneOf('F16', f32ToF16(2 ** -12)), 1)
  t.equal(oneOf('BF16', f32ToBF16(2 ** -12)), 1 + 2 ** -12)
  t.end()
})

/** Patterns of values that are none, and of those that are too large for a dtype. */
const BAD: readonly (readonly [WeightDType, WeightDType, number])[] = [
  ...DTYPES.flatMap((to) => [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7f80_0001].map((x) => ['F32', to, x] as const)),
  ...DTYPES.flatMap((to) => [0x7c00, 0xfc00, 0x7e00, 0x7c01].map((x) => ['F16', to, x] as const)),
  ...DTYPES.flatMap((to) => [0x7f80, 0xff80, 0x7fc0, 0x7f81].map((x) => ['BF16', to, x] as const)),
  ['F32', 'F16', 0x477f_f000],
  ['F32', 'BF16', 0x7f7f_8000],
  ['BF16', 'F16', 0xc780],
]

for (const [name, kernel] of Object.entries(KERNELS)) {
  void test(`the first value that is none, or too large, is found wherever it stands (${name})`, (t) => {
    for (const [from, to, pattern] of BAD) {
      for (const [at, count] of [
        [0, 1],
        [2, 9],
        [9, 1000],
        [998, 1000],
        [70_001, 70_003],
      ] as const) {
        const source = from === 'F32' ? new Uint32Array(count) : new Uint16Array(count)
        source[at] = pattern
        source[count - 1] = pattern
        const bytes = new Uint8Array(source.buffer)
        const bad = convertWeights({ from, to }, kernel, bytes, new Uint8Array(count * 4))
        if (bad?.element !== at) t.fail(`${from} to ${to}: ${pattern.toString(16)} at ${at} of ${count}`, { bad })
        const isNone = from === to || !Number.isFinite(bad?.value)
        if (isNone && checkWeights(from, kernel, bytes)?.element !== at) t.fail(`${from} at ${at}`)
      }
    }
    const greatest = bytesOf(Float32Array.of(65_519.99, -65_519.99))
    t.equal(convertWeights({ from: 'F32', to: 'F16' }, kernel, greatest, new Uint8Array(4)), undefined)
    t.end()
  })
}
