/**
 * llama.cpp on several threads: each worker loads the library and quantizes its own matrix, all at the same time.
 *
 * This file is both sides: the pool on the main thread, and what each worker runs.
 */
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { openLlama } from './llama.js'

/**
 * @typedef {object} LlamaPool
 * @property {string} version
 * @property {() => Promise<number>} run Quantizes every worker's matrix once; resolves with the wall time in seconds
 *   from the start signal to the last answer.
 * @property {number} weights Elements that one `run` quantizes, all workers together.
 * @property {() => Promise<void>} close
 */

/**
 * Starts one worker a matrix. The matrices are shared or copied before `run`, never inside the timed part.
 *
 * @param {{ matrices: Float32Array[], rowElements: number, onUnavailable?: (reason: string) => void }} options
 *   One matrix of whole rows for each thread.
 * @returns {Promise<LlamaPool | null>} null where `openLlama` gives null.
 */
export async function openLlamaPool({ matrices, rowElements, onUnavailable }) {
  const llama = await openLlama({ onUnavailable })
  if (llama === null) return null

  const workers = await Promise.all(matrices.map((values) => startWorker(values, rowElements)))
  return {
    version: llama.version,
    weights: matrices.reduce((sum, values) => sum + values.length, 0),
    async run() {
      const start = performance.now()
      await Promise.all(workers.map(quantizeOnce))
      return (performance.now() - start) / 1000
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()))
    },
  }
}

/**
 * @param {Float32Array} values
 * @param {number} rowElements
 * @returns {Promise<Worker>} Resolves when the worker has its library and its matrix.
 */
async function startWorker(values, rowElements) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { values, rowElements } })
  await nextMessage(worker)
  return worker
}

/** @param {Worker} worker */
function quantizeOnce(worker) {
  const answered = nextMessage(worker)
  worker.postMessage('quantize')
  return answered
}

/**
 * @param {Worker} worker
 * @returns {Promise<unknown>}
 */
function nextMessage(worker) {
  return new Promise((resolve, reject) => {
    const settle = (/** @type {(value: any) => void} */ done) => (/** @type {unknown} */ value) => {
      worker.off('message', onMessage)
      worker.off('error', onError)
      done(value)
    }
    const onMessage = settle(resolve)
    const onError = settle(reject)
    worker.on('message', onMessage)
    worker.on('error', onError)
  })
}

if (!isMainThread && workerData?.values instanceof Float32Array) {
  const llama = await openLlama()
  if (llama === null) throw new Error('llama.cpp opens on the main thread but not in a worker')
  const { values, rowElements } = workerData
  const blocks = new Uint8Array((values.length / 256) * 144)
  parentPort?.on('message', () => {
    llama.quantizeSearchInto(values, values.length / rowElements, rowElements, blocks)
    parentPort?.postMessage('done')
  })
  parentPort?.postMessage('ready')
}
