import { toPath } from '../../files/path.js'
import type { ByteSource } from '../../model/byte-source.js'
import { IMATRIX_OPTIONS } from '../../options/table.js'
import { openModel } from '../../streams/open-input.js'
import type { Progress } from '../job.js'
import { peakMemoryBytes } from '../mode.js'
import { openToRead } from '../reading/input.js'
import { importanceOfWeights, weighing } from './from-weights.js'
import { writeMatrix } from './write-matrix.js'

export interface ImatrixOptions {
  /** What the importance is computed from. Default `weights`, and nothing else yet. */
  from?: 'weights' | undefined
  /** Name of the pre-tokenizer, for a Hugging Face model whose tokenizer is unknown. Default: found out by running it. */
  pre?: string | undefined
  /** A folder with `config.json` and the tokenizer's files, for a model that comes without them. */
  config?: string | URL | undefined
  /** Replace an existing output. Default false: an existing output is an error. */
  overwrite?: boolean | undefined
  /** Called as weights are read. What it throws ends the job. */
  onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the job; the promise rejects with the signal's reason as cause. */
  signal?: AbortSignal | undefined
}

export interface ImatrixReport {
  readonly input: string
  readonly output: string
  /** Tensors that the matrix tells of. */
  readonly tensors: number
  readonly seconds: number
  /** Peak resident memory of the whole process so far. */
  readonly peakMemoryBytes: number
}

/**
 * Writes an importance matrix, as `recipe` and `llama-quantize` take it, of a model's weights alone: no text is needed, and
 * the weights are read once. What it is worth: docs/importance.md.
 *
 * @param input a path of a file or folder, a `file:` URL, or a ByteSource, which is closed at the end
 * @param output a path, or a `file:` URL, of the GGUF file that is made
 * @throws AprError `APR_BAD_OPTION`, `APR_UNSUPPORTED` for an architecture that is not known, `APR_BAD_INDEX` for tensors that
 *   are missing or do not fit together, `APR_BAD_VALUE` for weights that are not finite, and those of the writer
 * @throws an `AbortError` when `signal` ends the job
 */
export async function imatrix(
  input: string | URL | ByteSource,
  output: string | URL,
  options: ImatrixOptions = {},
): Promise<ImatrixReport> {
  const started = performance.now()
  let given = ''
  const { input: source, options: checked } = await openToRead(input, options, IMATRIX_OPTIONS, () => {
    given = toPath('the output', output)
  })
  const { overwrite, signal, onProgress } = checked
  const opened = await openModel(source)
  try {
    const found = await importanceOfWeights(opened, checked)
    const { tensors } = found
    const values = found.values({ signal, onRead: onProgress && weighing(found, onProgress) })
    await writeMatrix(given, tensors, values, { overwrite, signal })
    await source.checkUnchanged()
    const seconds = (performance.now() - started) / 1000
    return {
      input: source.name,
      output: given,
      tensors: tensors.length,
      seconds,
      peakMemoryBytes: await peakMemoryBytes(),
    }
  } finally {
    await source.close()
  }
}
