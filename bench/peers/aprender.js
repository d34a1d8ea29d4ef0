/**
 * The Rust reference as a peer: `quantize_q4_k` (min/max) of the crate `aprender-quant`, one thread.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { buildProgram } from './cargo.js'

const run = promisify(execFile)

/**
 * @typedef {object} AprenderFigure
 * @property {number} weightsPerSecond Median of the runs.
 * @property {number[]} runs Weights a second of each run.
 *
 * @typedef {object} Aprender
 * @property {string} version
 * @property {(valuesPath: string, options: { runs: number, blocksPath?: string }) => Promise<AprenderFigure>} quantizeMinmax
 *   Times `runs` runs over the little-endian f32 values of a file, after one untimed run; the last 256 values may be
 *   fewer. `blocksPath` receives the Q4_K blocks. The program times itself: starting it and reading are not counted.
 */

/**
 * Builds the program when it is not built yet.
 *
 * @param {{ onUnavailable?: (reason: string) => void }} [options] `onUnavailable` hears why the answer is null.
 * @returns {Promise<Aprender | null>} null when cargo is missing or the build fails.
 *
 * @example
 * const aprender = await openAprender({ onUnavailable: console.error });
 * const figure = await aprender?.quantizeMinmax('values.f32', { runs: 9 });
 */
export async function openAprender({ onUnavailable } = {}) {
  const program = await buildProgram('aprender-quant', 'aprender-quant-bench', onUnavailable)
  if (program === null) return null
  return {
    version: 'aprender-quant 0.72.3',
    async quantizeMinmax(valuesPath, { runs, blocksPath }) {
      const { stdout } = await run(program, [valuesPath, String(runs), ...(blocksPath ? [blocksPath] : [])])
      return JSON.parse(stdout)
    },
  }
}
