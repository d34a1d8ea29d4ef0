/**
 * Every option of every function: what it takes, its default, its meaning. The checks, the defaults that the code uses
 * and the tables of the documentation all come from here. A new option is a row here and a line in the function's
 * interface; the compiler and the tests say where else it is missing.
 */
import { selectByDefault } from '../quant/policy.js'
import { recipeNamed, TARGET_DTYPES } from '../recipes/names.js'
import { nothing, trueOrFalse } from './answers.js'
import {
  BOOLEAN,
  callback,
  oneOf,
  INPUT,
  OUTPUT,
  PATH,
  SIGNAL,
  TEXT,
  positive,
  wholeNumber,
  wordsBy,
  type OptionKind,
  type OptionRow,
} from './check.js'

const MIB = 1024 * 1024

/** `4,194,304`. Not `toLocaleString`, whose tables would take megabytes of memory from every program. */
const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',')

/** Enough that a thread has its next record when it has done one. */
export const QUANTIZE_BYTES_PER_THREAD = 4 * MIB
export const DEFAULT_THRESHOLD_BYTES = 4096 * MIB

export const READER_OPTIONS = {
  recordBytes: {
    kind: wholeNumber('bytes'),
    default: 2 * MIB,
    meaning: 'data in a record at the most; a record holds at least 256 elements, whatever that takes',
  },
  highWaterMark: {
    kind: wholeNumber('bytes'),
    // Four records: as many as Node reads at once.
    default: 8 * MIB,
    meaning: 'read ahead of need at the most; at least one record',
  },
} as const satisfies Record<string, OptionRow>

export const Q4K_OPTIONS = {
  fit: {
    kind: oneOf('search', 'minmax', 'refined'),
    default: 'search',
    meaning:
      'how scales are found: `search` gives the bytes of llama.cpp, `minmax` those of `apr quantize`, faster and less exact; [`refined`](refined.md) errs least',
  },
  select: {
    kind: callback('Select', trueOrFalse),
    default: selectByDefault,
    meaning: 'which tensors become Q4_K; returns `true` or `false` and nothing else',
  },
  kept: {
    kind: oneOf('auto', 'same', 'f32'),
    default: 'auto',
    meaning:
      'the other float tensors: `auto` keeps F32 and F16 and widens or rounds the rest to F32; `same` keeps all; `f32` makes all F32',
  },
  threads: {
    kind: wholeNumber('threads'),
    derived: 'cores available',
    meaning: 'worker threads at the most; few data take fewer, or none',
  },
  highWaterMark: {
    kind: wholeNumber('bytes'),
    derived: `${grouped(QUANTIZE_BYTES_PER_THREAD)} a thread`,
    meaning: 'records under way in the threads at the most; at least one record a thread',
  },
} as const satisfies Record<string, OptionRow>

export const TO_GGUF_OPTIONS = {
  outtype: {
    kind: oneOf('auto', 'f32', 'f16', 'bf16'),
    default: 'auto',
    meaning: 'dtype of the matrices; `auto` is that of the first BF16 or F16 matrix, or F16 where there is none',
  },
  pre: {
    kind: TEXT,
    derived: 'found out by running the tokenizer',
    meaning: 'name of the pre-tokenizer, as llama.cpp calls it',
  },
  config: {
    kind: INPUT,
    derived: 'what the model has itself',
    meaning: "a folder with `config.json` and the tokenizer's files, for a model that comes without them",
  },
} as const satisfies Record<string, OptionRow>

/** `'Q6_K'`, ...: a list of all would hide the rest. */
const TARGET_DTYPE: OptionKind<(typeof TARGET_DTYPES)[number]> = { ...oneOf(...TARGET_DTYPES), type: 'dtype' }

/** What a recipe is asked for with. */
const RECIPE_CHOICES = {
  imatrix: {
    kind: INPUT,
    derived: 'none',
    meaning: 'an importance matrix, as `llama-imatrix` writes it, in either of its forms',
  },
  types: {
    kind: wordsBy(...TARGET_DTYPES),
    derived: 'none',
    meaning:
      'dtypes by patterns, regular expressions that are searched in the names that tensors have in GGUF; the first that is found counts',
  },
  outputType: {
    kind: TARGET_DTYPE,
    derived: 'by the recipe',
    meaning: 'dtype of `output.weight`; of a tied model, which has none, of `token_embd.weight`',
  },
  embeddingType: {
    kind: TARGET_DTYPE,
    derived: 'by the recipe',
    meaning: 'dtype of `token_embd.weight`',
  },
  pure: {
    kind: BOOLEAN,
    default: false,
    meaning: "give every tensor that may be quantized the recipe's default dtype",
  },
  leaveOutput: {
    kind: BOOLEAN,
    default: false,
    meaning: 'leave `output.weight` as it is',
  },
  allowRequantize: {
    kind: BOOLEAN,
    default: false,
    meaning: 'quantize tensors again that are quantized already; without it one is an error',
  },
  fallback: {
    kind: BOOLEAN,
    default: true,
    meaning:
      'give a tensor whose rows are not whole blocks a dtype that takes them; without it all such tensors are an error',
  },
} as const satisfies Record<string, OptionRow>

export const RECIPE_OPTIONS = {
  ...RECIPE_CHOICES,
  fit: {
    kind: oneOf('search', 'refined'),
    default: 'search',
    meaning:
      'how scales are found: `search` gives the bytes of llama.cpp; [`refined`](refined.md) errs less, in Q2_K to Q6_K',
  },
  config: {
    kind: INPUT,
    derived: 'what the model has itself',
    meaning: 'a folder with `config.json`, for an APR model with Hugging Face names that comes without it',
  },
  threads: Q4K_OPTIONS.threads,
  highWaterMark: Q4K_OPTIONS.highWaterMark,
} as const satisfies Record<string, OptionRow>

const RECIPE: OptionKind<ReturnType<typeof recipeNamed>> = { type: 'string', check: (_, value) => recipeNamed(value) }

export const WRITER_OPTIONS = {
  overwrite: {
    kind: BOOLEAN,
    default: false,
    meaning: 'replace an existing file, at the end and in one step; without it an existing file is an error',
  },
  highWaterMark: {
    kind: wholeNumber('bytes'),
    default: 4 * MIB,
    meaning: 'on their way to the file at the most; at least one record',
  },
} as const satisfies Record<string, OptionRow>

export const GGUF_WRITER_OPTIONS = {
  ...WRITER_OPTIONS,
  splitMaxBytes: {
    kind: wholeNumber('bytes'),
    derived: 'one file',
    meaning: 'data in a file at the most: a larger model becomes several; a tensor is never cut',
  },
} as const satisfies Record<string, OptionRow>

export const SAFETENSORS_WRITER_OPTIONS = {
  ...WRITER_OPTIONS,
  shardMaxBytes: {
    kind: wholeNumber('bytes'),
    derived: 'one file',
    meaning: 'data in a file at the most, as far as a tensor allows it; a larger model becomes shards with an index',
  },
} as const satisfies Record<string, OptionRow>

/** Of the functions that only read. */
export const READ_OPTIONS = {
  signal: {
    kind: SIGNAL,
    derived: 'none',
    meaning: 'ends the work: the promise rejects with an `AbortError` whose `cause` is the reason',
  },
} as const satisfies Record<string, OptionRow>

export const QUANTIZE_OPTIONS = {
  recipe: {
    kind: RECIPE,
    derived: 'Q4_K for the tensors that `select` takes',
    meaning:
      'what `llama-quantize` would be asked for: `Q4_K_M` and so on, see [recipes](recipes.md); `select`, `kept` and the fit `minmax` are not for it',
  },
  ...RECIPE_CHOICES,
  importance: {
    kind: oneOf('moments'),
    derived: 'that of `imatrix`, or none',
    meaning: 'compute the importance matrix from the weights alone, see [importance](importance.md)',
  },
  targetBytes: {
    kind: wholeNumber('bytes'),
    derived: 'as large as the recipe makes it',
    meaning:
      'size of the output at the most: dtypes are [chosen by their errors](budget.md), with the recipe or without',
  },
  bitsPerWeight: {
    kind: positive('bits'),
    derived: 'as many as the recipe takes',
    meaning: 'the same, as bits of all tensors together a weight',
  },
  fit: Q4K_OPTIONS.fit,
  select: Q4K_OPTIONS.select,
  kept: Q4K_OPTIONS.kept,
  threads: Q4K_OPTIONS.threads,
  recordBytes: READER_OPTIONS.recordBytes,
  to: {
    kind: oneOf('apr', 'gguf', 'safetensors'),
    derived: "the one that the output's name speaks of, else the input's",
    meaning: 'format of the output; where it is another than that of the input, the model is converted on the way',
  },
  pre: TO_GGUF_OPTIONS.pre,
  config: TO_GGUF_OPTIONS.config,
  splitMaxBytes: {
    kind: wholeNumber('bytes'),
    derived: 'one file',
    meaning:
      "bytes of an output's file at the most, as far as a tensor's own size allows: a larger model becomes several",
  },
  report: {
    kind: PATH,
    derived: 'none is written',
    meaning:
      'where a [report of the errors](compare.md) goes, a `.json` file, or a page in an `.html` file; written when the job has succeeded',
  },
  overwrite: WRITER_OPTIONS.overwrite,
  mode: {
    kind: oneOf('auto', 'stream', 'memory'),
    default: 'auto',
    meaning: 'see above',
  },
  threshold: {
    kind: wholeNumber('bytes', 0),
    derived: `\`APR_STREAMING_THRESHOLD\`, else ${grouped(DEFAULT_THRESHOLD_BYTES)}`,
    meaning: 'size of the input from which `auto` streams',
  },
  highWaterMark: {
    kind: wholeNumber('bytes'),
    derived: 'that of each stage',
    meaning: 'for reader, q4k and writer each: read ahead, being quantized, being written',
  },
  spaceCheck: {
    kind: BOOLEAN,
    default: true,
    meaning: "refuse to start where the output's disk has less room than the output takes",
  },
  resume: {
    kind: BOOLEAN,
    default: false,
    meaning:
      'go on from the partial file of an interrupted run of the same input, options and version; keep it when this run fails',
  },
  strict: {
    kind: BOOLEAN,
    default: false,
    meaning: 'refuse to start where the [plan has warnings](plan.md#warnings)',
  },
  onProgress: {
    kind: callback('function', nothing),
    derived: 'none',
    meaning:
      'called once a record in each phase; what it throws ends the job; a promise is refused, because nothing would await it',
  },
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>

export const CONVERT_OPTIONS = {
  to: {
    kind: QUANTIZE_OPTIONS.to.kind,
    derived: "the one that the output's name speaks of",
    meaning: 'format of the output',
  },
  outtype: TO_GGUF_OPTIONS.outtype,
  pre: TO_GGUF_OPTIONS.pre,
  config: TO_GGUF_OPTIONS.config,
  splitMaxBytes: QUANTIZE_OPTIONS.splitMaxBytes,
  // Mostly bytes pass as they are: what is under way is to stay in the processor's cache until it is written.
  recordBytes: { ...READER_OPTIONS.recordBytes, default: MIB },
  highWaterMark: {
    kind: wholeNumber('bytes'),
    default: 4 * MIB,
    meaning: 'for reader and writer each: read ahead, being written',
  },
  overwrite: WRITER_OPTIONS.overwrite,
  resume: QUANTIZE_OPTIONS.resume,
  spaceCheck: QUANTIZE_OPTIONS.spaceCheck,
  onProgress: QUANTIZE_OPTIONS.onProgress,
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>

export const CONVERSION_PLAN_OPTIONS = {
  ...CONVERT_OPTIONS,
  output: {
    kind: OUTPUT,
    derived: 'beside the input',
    meaning: 'where the output would go: its name tells the format, its disk the free space',
  },
} as const satisfies Record<string, OptionRow>

export const PLAN_OPTIONS = {
  ...QUANTIZE_OPTIONS,
  output: {
    kind: OUTPUT,
    derived: 'beside the input',
    meaning: 'where the output would go: its disk is the one whose free space is told',
  },
} as const satisfies Record<string, OptionRow>

export const IMATRIX_OPTIONS = {
  from: {
    kind: oneOf('weights'),
    default: 'weights',
    meaning: 'what the importance is computed from',
  },
  pre: TO_GGUF_OPTIONS.pre,
  config: TO_GGUF_OPTIONS.config,
  overwrite: WRITER_OPTIONS.overwrite,
  onProgress: {
    ...QUANTIZE_OPTIONS.onProgress,
    meaning: 'called as weights are read; what it throws ends the job',
  },
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>

export const COMPARE_OPTIONS = {
  imatrix: {
    ...RECIPE_CHOICES.imatrix,
    meaning: 'an importance matrix, in either form of `llama-imatrix`: errors are weighted by it, too',
  },
  maxError: {
    kind: positive('relative error'),
    derived: 'any',
    meaning:
      'relative error that a tensor may have, 0.08 is 8 %: `beyond` names those that have more, and `ok` is false',
  },
  select: {
    kind: callback('Select', trueOrFalse),
    derived: 'all tensors',
    meaning: 'which tensors are compared, as the report names them; returns `true` or `false` and nothing else',
  },
  report: {
    kind: PATH,
    derived: 'none is written',
    meaning: 'where the report goes: a file that ends in `.json`, or in `.html` for a page',
  },
  overwrite: { ...WRITER_OPTIONS.overwrite, meaning: 'replace an existing report; without it one is an error' },
  config: TO_GGUF_OPTIONS.config,
  threads: Q4K_OPTIONS.threads,
  onProgress: {
    ...QUANTIZE_OPTIONS.onProgress,
    meaning: 'called as weights are read; what it throws ends the work',
  },
  signal: READ_OPTIONS.signal,
} as const satisfies Record<string, OptionRow>
