import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantize } from 'apr-stream'
import { DTYPES } from '../../dist/model/dtypes.js'
import type { Kernel } from '../../dist/quant/kernel.js'
import { createScalarKernel } from '../../dist/quant/scalar.js'
import { createSimdKernel } from '../../dist/quant/simd.js'

const DTYPES_HERE = ['IQ4_NL', 'IQ4_XS'] as const
const KERNELS: Readonly<Record<string, Kernel>> = { scalar: createScalarKernel(256), simd: createSimdKernel() }

interface Data {
  /** Where the values are, and the blocks that llama.cpp's library makes of them. */
  readonly input: string
  readonly folder: string
  /** SHA-256 of the f32 values that the library decodes its blocks to, every NaN as 7fc00000. */
  readonly decoded: Readonly<Record<string, string>>
}

const DATA: Readonly<Record<string, Data>> = {
  'every family of data': {
    input: 'q4k/input.f32',
    folder: 'kquants',
    decoded: {
      'iq4_nl.bin': 'a0f753f74c1883137912130cb477d257131c992c438618c351c212d9d3a0f1a7',
      'iq4_nl-imatrix.bin': 'b95cd2095f50680a10ddb8651d4f27238e85ab819296072a7e44dc9331ee5616',
      'iq4_xs.bin': 'fef96e4894ef4b1e82233880ec7be616c98e09a6f33d4a10cd18c0d8e1348c37',
      'iq4_xs-imatrix.bin': 'c8041dd942efeb15dea6914cf1f62cec6de40c9c32406876fac2e1f147ffce5e',
    },
  },
  'blocks that other types found hard': {
    input: 'kquants/rare/input.f32',
    folder: 'kquants/rare',
    decoded: {
      'iq4_nl.bin': '593579335487239944c1924db3abcbbe83085154ed713bbbb235a07e02cf0691',
      'iq4_nl-imatrix.bin': '928bec81787b7ebb92f0dbb2e77cc0412c671aab3314703429dd6a09238a1817',
      'iq4_xs.bin': 'b32f54e71e998e3a7b438c8a2348b41a6eacc672f38cdf2146eeef59fedfa7ef',
      'iq4_xs-imatrix.bin': 'a8e06d7974ffb98fca39f264bf6bdc274fb864f18c17fa1c6d6865adcd2801dc',
    },
  },
  // Values at and between the levels, at the ends of f32 and of f16, scales half way between two of 6 bits, zeros.
  'blocks that forgive no slip': {
    input: 'kquants/iq4-edges/input.f32',
    folder: 'kquants/iq4-edges',
    decoded: {
      'iq4_nl.bin': '8e949d44bc06859a47014c9c3a91c1c374864fcaef40cac999ccc4c6225e91b0',
      'iq4_nl-imatrix.bin': '04949de93526009ed738184259a070db132ea055599e2df23b07d7b297a0b81b',
      'iq4_xs.bin': 'ae8771d0d53da5c1f62b27dbdd7e52019f2b7fb2005fc2ec7b7850d338726f42',
      'iq4_xs-imatrix.bin': 'b0e0af996753548b62c032190ef14848f99f55b913393285f204f83b63ae2ca8',
    },
  },
}

const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
const floats = (name: string): Float32Array => new Float32Array(Uint8Array.from(fixture(name)).buffer)

for (const [what, { input, folder, decoded }] of Object.entries(DATA)) {
  const values = floats(input)
  for (const dtype of DTYPES_HERE) {
    for (const weighted of ['', '-imatrix']) {
      const name = `${dtype.toLowerCase()}${weighted}.bin`
      const expected = fixture(`${folder}/${name}`)
      const importance = weighted === '' ? undefined : floats(`${folder}/imatrix.f32`)

      for (const [kernelName, kernel] of Object.entries(KERNELS)) {
        void test(`${name}, kernel ${kernelName}: the bytes of llama.cpp for ${what}`, (t) => {
          const found = blocksOf(dtype, values, kernel, importance)
          t.strictSame(differingBlocks(found, expected, DTYPES[dtype].blockBytes), [])
          t.end()
        })
      }

      void test(`${name}: ${what} decodes to the values that llama.cpp decodes`, (t) => {
        const patterns = new Uint32Array(dequantize(dtype, expected).buffer)
        const canonical = patterns.map((pattern) => ((pattern & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : pattern))
        t.equal(createHash('sha256').update(new Uint8Array(canonical.buffer)).digest('hex'), decoded[name])
        t.end()
      })
    }
  }
}

/** @param importance of a row, the same for all rows */
function blocksOf(
  dtype: (typeof DTYPES_HERE)[number],
  values: Float32Array,
  kernel: Kernel,
  importance?: Float32Array,
): Uint8Array {
  const { blockElements, blockBytes } = DTYPES[dtype]
  const found = new Uint8Array((values.length / blockElements) * blockBytes)
  for (let first = 0; first < values.length; first += kernel.input.length) {
    const part = values.subarray(first, first + kernel.input.length)
    kernel.input.set(part)
    if (importance) part.forEach((_, i) => (kernel.importance[i] = importance[(first + i) % importance.length] ?? 0))
    const blocks = part.length / blockElements
    const isFinite = kernel.fit({ dtype, fit: 'search', isWeighted: importance !== undefined }, blocks)
    if (!isFinite) throw new Error(`a value of ${dtype} is not finite`)
    found.set(kernel.output.subarray(0, blocks * blockBytes), (first / blockElements) * blockBytes)
  }
  return found
}

/** Indices of the blocks that are not the same; the first ten are enough to see. */
function differingBlocks(found: Uint8Array, expected: Uint8Array, blockBytes: number): number[] {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} bytes, found ${found.length}`)
  const part = (bytes: Uint8Array, block: number): Uint8Array =>
    bytes.subarray(block * blockBytes, (block + 1) * blockBytes)
  const blocks = Array.from({ length: expected.length / blockBytes }, (_, block) => block)
  return blocks.filter((block) => Buffer.compare(part(found, block), part(expected, block)) !== 0).slice(0, 10)
}
