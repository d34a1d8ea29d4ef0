/**
 * This project's kernel on several threads: each worker has a kernel of its own and fits its own matrix, all at the same
 * time. This file is both sides: the pool on the main thread, and what each worker runs.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { createSimdKernel } from '../../dist/quant/simd.js'
import { quantizeRun } from '../../dist/quant/runs/run.js'
import { startMatrixWorkers } from './matrix-workers.js'

/** Elements that a job has in a record: 2 MiB of F16. */
const RECORD_ELEMENTS = 2 ** 20

/**
 * @param {{ matrices: Array<Float32Array | Uint16Array> }} options One matrix of whole super-blocks for each thread: F32,
 *   which is fitted alone, or F16, which is read from memory, widened, fitted and written back. `run` takes the fit.
 */
export async function openKernelPool({ matrices }) {
  return await startMatrixWorkers(
    new URL(import.meta.url),
    matrices.map((kernelValues) => ({ kernelValues })),
  )
}

/**
 * Fits as many weights as the matrix has, piece by piece in the kernel's own memory: the arithmetic alone. Every piece
 * holds the matrix's first weights.
 *
 * @param {import('../../dist/quant/kernel.js').Kernel} kernel
 * @param {Float32Array} values
 * @param {'search' | 'minmax'} fit
 */
export function fitInPlace(kernel, values, fit) {
  const piece = Math.min(values.length, kernel.input.length)
  kernel.input.set(values.subarray(0, piece))
  for (let done = 0; done < values.length; done += piece) kernel.fit({ dtype: 'Q4_K', fit }, piece / 256)
}

/**
 * Fits a matrix of whole super-blocks in memory, record by record: copied into the kernel's memory, widened where it is
 * F16, fitted, and copied out.
 *
 * @param {import('../../dist/quant/kernel.js').Kernel} kernel
 * @param {Float32Array | Uint16Array} values
 * @param {'search' | 'minmax'} fit
 * @param {Uint8Array} blocks takes 144 bytes for each 256 values
 */
export function fitMatrix(kernel, values, fit, blocks) {
  for (let start = 0; start < values.length; start += RECORD_ELEMENTS) {
    const record = values.subarray(start, start + RECORD_ELEMENTS)
    const data = new Uint8Array(record.buffer, record.byteOffset, record.byteLength)
    const dtype = record instanceof Uint16Array ? 'F16' : 'F32'
    const run = { dtype, data, elements: record.length, rowElements: record.length }
    quantizeRun(run, fit, kernel, blocks.subarray((start / 256) * 144))
  }
}

const values = isMainThread ? undefined : workerData?.kernelValues
if (values) {
  const kernel = createSimdKernel()
  const blocks = new Uint8Array((values.length / 256) * 144)
  parentPort?.on('message', (fit) => {
    if (values instanceof Float32Array) fitInPlace(kernel, values, fit)
    else fitMatrix(kernel, values, fit, blocks)
    parentPort?.postMessage('done')
  })
  parentPort?.postMessage('ready')
}
