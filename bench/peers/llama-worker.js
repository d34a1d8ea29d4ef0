/**
 * llama.cpp on several threads: each worker loads the library and quantizes its own matrix, all at the same time.
 *
 * This file is both sides: the pool on the main thread, and what each worker runs.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { startMatrixWorkers } from '../lib/matrix-workers.js'
import { openLlama } from './llama.js'

/**
 * @param {{ matrices: Float32Array[], rowElements: number, onUnavailable?: (reason: string) => void }} options
 *   One matrix of whole rows for each thread.
 * @returns {Promise<import('../lib/matrix-workers.js').MatrixWorkers | null>} null where `openLlama` gives null.
 */
export async function openLlamaPool({ matrices, rowElements, onUnavailable }) {
  if ((await openLlama({ onUnavailable })) === null) return null
  return await startMatrixWorkers(
    new URL(import.meta.url),
    matrices.map((values) => ({ values, rowElements })),
  )
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
