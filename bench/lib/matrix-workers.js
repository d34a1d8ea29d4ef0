/** Worker threads that each hold a matrix, and all work on their own at the same time. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

/**
 * @typedef {object} MatrixWorkers
 * @property {(message: string) => Promise<number>} run Sends every worker the message; resolves with the wall time in
 *   seconds from there to the last answer.
 * @property {() => Promise<void>} close
 */

/**
 * Starts the workers. Each sends a message when it is ready, and one for each that it gets.
 *
 * @param {URL} url What they run.
 * @param {object[]} workerData One for each. Matrices are shared or copied here, never inside the timed part.
 * @returns {Promise<MatrixWorkers>}
 */
export async function startMatrixWorkers(url, workerData) {
  const workers = await Promise.all(
    workerData.map(async (data) => {
      const worker = new Worker(url, { workerData: data })
      // An error rejects, too.
      await once(worker, 'message')
      return worker
    }),
  )
  return {
    async run(message) {
      const start = performance.now()
      await Promise.all(
        workers.map((worker) => {
          const answered = once(worker, 'message')
          worker.postMessage(message)
          return answered
        }),
      )
      return (performance.now() - start) / 1000
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.terminate()))
    },
  }
}
