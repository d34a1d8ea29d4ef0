/** Section 1: the kernels, weights a second a core, each peer in turn with ours. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createScalarKernel } from '../dist/quant/scalar.js'
import { createSimdKernel } from '../dist/quant/simd.js'
import { gaussianWeights, toHalfPrecision } from './lib/gaussian.js'
import { interleave } from './lib/interleave.js'
import { fitInPlace, fitMatrix, openKernelPool } from './lib/kernel-pool.js'
import { openAprender } from './peers/aprender.js'
import { openLlama } from './peers/llama.js'
import { openLlamaPool } from './peers/llama-worker.js'

const ROW_ELEMENTS = 4096
/** 8 Mi weights: a tenth of a second for the fast kernels. */
const ELEMENTS = 8 * 2 ** 20
/** Kernels on a job's input, read from memory and written back: what the whole job is measured by. */
export const FROM_F16 = 'apr-stream from F16'
/** The scalar code gets a part of them, and its rate is scaled. */
const SCALAR_PART = 1 / 16

/**
 * @param {{ rounds: number, threads: number, note: (line: string) => void }} options
 */
export async function benchKernels({ rounds, threads, note }) {
  const values = shared(gaussianWeights(ELEMENTS, 1))
  const halves = shared(toHalfPrecision(values))
  const blocks = new Uint8Array((ELEMENTS / 256) * 144)
  const simd = createSimdKernel()
  const scalar = createScalarKernel()
  const part = values.subarray(0, ELEMENTS * SCALAR_PART)
  const rows = ELEMENTS / ROW_ELEMENTS
  const matrices = Array.from({ length: threads }, () => values)

  const llama = await openLlama({ onUnavailable: note })
  const llamaPool = await openLlamaPool({ matrices, rowElements: ROW_ELEMENTS })
  const aprender = await openAprender({ onUnavailable: note })
  const pool = await openKernelPool({ matrices })
  const halfPool = await openKernelPool({ matrices: matrices.map(() => halves) })
  const folder = mkdtempSync(join(tmpdir(), 'apr-stream-bench-'))
  const valuesPath = join(folder, 'values.f32')
  writeFileSync(valuesPath, new Uint8Array(values.buffer))

  const all = `${threads} threads`
  /** @type {Record<string, { fit: string, who: string, threads: number, weights: number, run: () => unknown }>} */
  const variants = {
    'search, apr-stream SIMD': {
      run: () => fitInPlace(simd, values, 'search'),
      ...on('search', 'apr-stream', 1),
    },
    'search, apr-stream scalar': {
      run: () => fitInPlace(scalar, part, 'search'),
      ...on('search', 'apr-stream scalar', 1),
      weights: part.length,
    },
    ...(llama && {
      'search, llama.cpp': {
        run: () => llama.quantizeSearchInto(values, rows, ROW_ELEMENTS, blocks),
        ...on('search', 'llama.cpp', 1),
      },
    }),
    [`search, apr-stream SIMD, ${all}`]: { run: () => pool.run('search'), ...on('search', 'apr-stream', threads) },
    ...(llamaPool && {
      [`search, llama.cpp, ${all}`]: { run: () => llamaPool.run('search'), ...on('search', 'llama.cpp', threads) },
    }),
    'minmax, apr-stream SIMD': { run: () => fitInPlace(simd, values, 'minmax'), ...on('minmax', 'apr-stream', 1) },
    'minmax, apr-stream SIMD, from F32 in memory': {
      run: () => fitMatrix(simd, values, 'minmax', blocks),
      ...on('minmax', 'apr-stream from F32', 1),
    },
    ...(aprender && {
      'minmax, aprender-quant': {
        run: async () => ELEMENTS / (await aprender.quantizeMinmax(valuesPath, { runs: 3 })).weightsPerSecond,
        ...on('minmax', 'aprender-quant', 1),
      },
    }),
    [`minmax, apr-stream SIMD, ${all}`]: { run: () => pool.run('minmax'), ...on('minmax', 'apr-stream', threads) },
    ...Object.fromEntries(
      /** @type {const} */ (['search', 'minmax']).flatMap((fit) => [
        [
          `${fit}, apr-stream SIMD, from F16 in memory`,
          { run: () => fitMatrix(simd, halves, fit, blocks), ...on(fit, FROM_F16, 1) },
        ],
        [
          `${fit}, apr-stream SIMD, from F16 in memory, ${all}`,
          { run: () => halfPool.run(fit), ...on(fit, FROM_F16, threads) },
        ],
      ]),
    ),
  }
  const timings = await interleave(Object.fromEntries(Object.entries(variants).map(([name, { run }]) => [name, run])), {
    rounds,
  })
  await pool.close()
  await halfPool.close()
  await llamaPool?.close()
  rmSync(folder, { recursive: true })

  const figures = Object.entries(variants).map(([name, { fit, who, threads: used, weights }]) => ({
    name,
    fit,
    who,
    threads: used,
    weightsPerSecond: weights / timings[name].median,
    slowest: weights / timings[name].max,
    fastest: weights / timings[name].min,
  }))
  /** @param {string} fit @param {string} peer @param {number} used */
  const ratio = (fit, peer, used) => {
    const rate = (/** @type {string} */ who) =>
      figures.find((figure) => figure.fit === fit && figure.who === who && figure.threads === used)?.weightsPerSecond
    const [ours, theirs] = [rate('apr-stream'), rate(peer)]
    return ours && theirs ? ours / theirs : undefined
  }
  return {
    versions: { llama: llama?.version, aprender: aprender?.version },
    figures,
    ratios: {
      'search to llama.cpp, 1 thread': ratio('search', 'llama.cpp', 1),
      [`search to llama.cpp, ${all}`]: ratio('search', 'llama.cpp', threads),
      'search to the scalar reference, 1 thread': ratio('search', 'apr-stream scalar', 1),
      'minmax to aprender-quant, 1 thread': ratio('minmax', 'aprender-quant', 1),
    },
  }
}

/** @param {string} fit @param {string} who @param {number} threads */
function on(fit, who, threads) {
  return { fit, who, threads, weights: ELEMENTS * threads }
}

/**
 * Memory that worker threads get without a copy.
 *
 * @template {Float32Array | Uint16Array} T
 * @param {T} values
 */
function shared(values) {
  const copy = /** @type {T} */ (new /** @type {any} */ (values.constructor)(new SharedArrayBuffer(values.byteLength)))
  copy.set(values)
  return copy
}
