/**
 * Compares the SIMD kernel with the scalar reference, all bytes, on random super-blocks of many kinds.
 * `npm run fuzz-kernel -- --blocks 1000000 --seed 1`: a million take two minutes a core.
 */
import { parseArgs } from 'node:util'
import { createScalarKernel } from '../dist/quant/scalar.js'
import { createSimdKernel } from '../dist/quant/simd.js'

const { values: flags } = parseArgs({
  options: { blocks: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' } },
})
const BATCH = 64
const ELEMENTS = BATCH * 256
const random = generator(Number(flags.seed))
const gaussian = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
const pattern = new Uint32Array(1)
const asFloat = new Float32Array(pattern.buffer)

/** One value of a kind of weights; `scale` is the same for 32 values. */
const KINDS = {
  gaussian: () => 0.02 * gaussian(),
  'heavy tails': () => 0.02 * Math.tan(Math.PI * (random() - 0.5)),
  'all positive': () => random(),
  constant: (/** @type {number} */ scale) => scale,
  'constant and noise': (/** @type {number} */ scale) => scale * (1 + 1e-7 * gaussian()),
  tiny: () => 1e-8 * gaussian(),
  denormal: () => 1e-40 * gaussian(),
  huge: () => 1e15 * gaussian(),
  'near the largest': () => 1e37 * gaussian(),
  ternary: () => Math.floor(random() * 3) - 1,
  'one of many': () => (random() < 0.01 ? gaussian() : 0),
  'mixed scales': (/** @type {number} */ scale) => scale * gaussian(),
  'any bits': () => {
    do pattern[0] = random() * 2 ** 32
    while (!Number.isFinite(asFloat[0]))
    return asFloat[0]
  },
}

const scalar = createScalarKernel(BATCH)
const simd = createSimdKernel()
const kinds = Object.entries(KINDS)
let compared = 0
for (let batch = 0; compared < Number(flags.blocks); batch++) {
  const [kind, value] = kinds[batch % kinds.length]
  let scale = 1
  for (let i = 0; i < ELEMENTS; i++) {
    if (i % 32 === 0) scale = gaussian() * 10 ** Math.floor(random() * 8 - 4)
    scalar.input[i] = value(scale)
  }
  simd.input.set(scalar.input)
  for (const fit of /** @type {const} */ (['search', 'minmax'])) {
    const isFinite = [scalar.fit({ dtype: 'Q4_K', fit }, BATCH), simd.fit({ dtype: 'Q4_K', fit }, BATCH)]
    const expected = Buffer.from(scalar.output.buffer, 0, BATCH * 144)
    const found = Buffer.from(simd.output.slice(0, BATCH * 144).buffer)
    if (isFinite[0] !== isFinite[1] || (isFinite[0] && !expected.equals(found))) {
      console.error(`${fit}, ${kind}: batch ${batch} of seed ${flags.seed} differs`)
      process.exit(1)
    }
  }
  compared += BATCH
}
console.log(`${compared} super-blocks, both fits, seed ${flags.seed}: all bytes equal`)

/** Mulberry32. @param {number} seed */
function generator(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
