/**
 * The whole job by the reference: `apr_convert` of the crate `aprender-core`, `.apr` to Q4_K (min/max), one thread.
 */
import { measureProcess } from '../lib/process.js'
import { buildProgram } from './cargo.js'

/**
 * @typedef {object} AprConvert
 * @property {string} version
 * @property {(input: string, output: string, options?: { streaming?: boolean }) => Promise<import('../lib/process.js').ProcessFigure>} convert
 *   Quantizes a file in a process of its own. `streaming` (default true) takes its streaming path, which without that
 *   it takes only from 4 GiB on; false leaves it the whole-in-memory path.
 */

/**
 * Builds the program when it is not built yet: 3 minutes on 2 cores.
 *
 * @param {{ onUnavailable?: (reason: string) => void }} [options] `onUnavailable` hears why the answer is null.
 * @returns {Promise<AprConvert | null>} null when cargo is missing or the build fails.
 */
export async function openAprConvert({ onUnavailable } = {}) {
  const program = await buildProgram('apr-convert', 'apr-convert-bench', onUnavailable)
  if (program === null) return null
  return {
    version: 'aprender-core 0.72.3',
    convert: (input, output, { streaming = true } = {}) =>
      measureProcess(program, [input, output], {
        env: { ...process.env, APR_STREAMING_THRESHOLD: streaming ? '0' : String(2 ** 62) },
      }),
  }
}
