/** What a job is asked for, and what it tells. */
import type { PhaseProgress } from '../files/output/output-options.js'
import type { RecipeText } from '../recipes/names.js'
import type { Decision } from '../streams/quantize/quantization.js'
import type { RecipeChoices } from '../streams/quantize/recipe.js'
import type { Q4KOptions } from '../streams/quantize/q4k.js'
import type { ReaderOptions } from '../streams/reader.js'
import type { TypeChoice } from '../recipes/budget/choice.js'
import type { Mode, ModeOptions } from './mode.js'
import type { FormatName } from '../model/model.js'

export interface QuantizeOptions extends Q4KOptions, RecipeChoices, ReaderOptions, ModeOptions {
  /**
   * What `llama-quantize` would be asked for: `Q4_K_M` and so on. Then `select`, `kept` and the fit `minmax` are not
   * for it. Default: Q4_K for the tensors that `select` takes.
   */
  recipe?: RecipeText | undefined
  /**
   * `moments`: a recipe's importance matrix is computed from the weights alone, which are read once more for it. Default:
   * none, or that of `imatrix`.
   */
  importance?: 'moments' | undefined
  /**
   * Bytes of all files of the output together, at the most: dtypes are chosen by the errors that they would have, of a sample
   * of the weights. Default: those of the recipe.
   */
  targetBytes?: number | undefined
  /** The same as bits of all tensors together a weight, at the most. Default: those of the recipe. */
  bitsPerWeight?: number | undefined
  /** Format of the output. Default: the one that its name speaks of, else the input's. */
  to?: FormatName | undefined
  /** Name of the pre-tokenizer, for GGUF of a Hugging Face model. Default: found out by running the tokenizer. */
  pre?: string | undefined
  /** A folder with `config.json` and the tokenizer's files, for a model that comes without them. */
  config?: string | URL | undefined
  /** Bytes of an output's file at the most: a larger model becomes several. Default: one file. */
  splitMaxBytes?: number | undefined
  /**
   * Where a report of the errors goes, a `.json` file: written when the job has succeeded. Default: none is written, and no
   * figures are taken.
   */
  report?: string | URL | undefined
  /** Replace an existing output, and an existing report. Default false: one that exists is an error. */
  overwrite?: boolean | undefined
  /**
   * Go on from what an earlier run of the same job has left: the same input, options and version of this package. What
   * it wrote is proven first. A run that fails then leaves its partial file for the next. Default false.
   */
  resume?: boolean | undefined
  /** Refuse to start where the disk has less room than the output takes. Default true. */
  spaceCheck?: boolean | undefined
  /** Refuse to start where the plan has warnings. Default false: they are in the report. */
  strict?: boolean | undefined
  /**
   * Called as the job goes on, once a record in each phase. What it throws ends the job; a promise is refused: nothing
   * awaits it.
   */
  onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the job; the promise rejects with the signal's reason as cause. */
  signal?: AbortSignal | undefined
}

export interface Progress extends PhaseProgress {
  /**
   * What is being done. With `resume`, `checking` comes first: what an earlier run has left is read back. Mode `stream`
   * then has one phase, `quantizing`, in which reading and writing go along; mode `memory` has `reading`, `quantizing`
   * and `writing`, one after the other. `convert` has one, `converting`, and `compare` one, `comparing`. Where importance comes from the weights, `weighing`
   * comes before them.
   */
  readonly phase: 'checking' | 'weighing' | 'reading' | 'quantizing' | 'writing' | 'converting' | 'comparing'
}

export interface QuantizeReport extends JobSummary {
  readonly output: string
  /** With `resume`: tensors that an earlier run had written, and why there are none where something was left of one. */
  readonly resumedTensors: number
  readonly restartReason: string | undefined
  readonly seconds: number
  /** Peak resident memory of the whole process so far. */
  readonly peakMemoryBytes: number
}

/** A file of an output. */
export interface OutputFile {
  readonly name: string
  /** Exactly. */
  readonly bytes: number
}

/** What a plan and a report both tell. */
export interface JobSummary {
  readonly input: string
  /** What the two are: a conversion on the way is part of the job. */
  readonly inputFormat: FormatName
  readonly outputFormat: FormatName
  /** Sizes of the files, the output's exact. */
  readonly inputBytes: number
  readonly outputBytes: number
  /** `inputBytes / outputBytes`. */
  readonly ratio: number
  /** Bits that a number takes, of all tensors together. */
  readonly bitsPerWeight: number
  /** The output's files; the first is the one by which the others are found. */
  readonly files: readonly OutputFile[]
  /** Numbers of tensors. */
  readonly tensors: number
  readonly quantized: number
  readonly kept: number
  /** How many tensors are quantized or kept for which reason. */
  readonly reasons: Partial<Record<Decision['reason'], number>>
  readonly mode: Mode
  /** What is likely to disappoint, in sentences. */
  readonly warnings: readonly string[]
  /** How dtypes were chosen, where `targetBytes` or `bitsPerWeight` asked for it. */
  readonly choice?: TypeChoice
}
