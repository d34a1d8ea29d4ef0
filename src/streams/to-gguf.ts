import { Transform } from 'streamx'
import type { Outtype } from '../convert/hf-model.js'
import { readConfigFolder } from '../files/config-folder.js'
import { AprError } from '../model/errors.js'
import type { Model } from '../model/model.js'
import type { TensorRecord } from '../model/record.js'
import { checkOptions, type Checked } from '../options/check.js'
import { TO_GGUF_OPTIONS } from '../options/table.js'
import { disown, lend, release, takeOver } from '../records/buffers.js'
import { ConvertedRuns } from '../records/converted-runs.js'
import { Intake, oncePerModel } from './changed-model.js'
import { GgufStage } from './conversion.js'
import { transformFace, type TensorTransform } from './face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from './streamx.js'

export interface ToGgufOptions {
  /**
   * Dtype of the matrices; norms and whatever has one dimension are F32. `auto`: that of the first BF16 or F16 matrix, or
   * F16 where there is none. Default `auto`.
   */
  outtype?: Outtype | undefined
  /** Name of the pre-tokenizer, as llama.cpp calls it. Default: found out by running the tokenizer. */
  pre?: string | undefined
  /** A folder with `config.json` and the tokenizer's files, for a model that comes without them. */
  config?: string | URL | undefined
}

/** The same, checked. */
export type CheckedToGgufOptions = Checked<ToGgufOptions, typeof TO_GGUF_OPTIONS>

/**
 * Makes GGUF of a Hugging Face model, or of an APR model: the bytes of llama.cpp's `convert_hf_to_gguf.py`. Tensors get
 * GGUF's names and dtypes, experts are stacked, rows are put into the order that llama.cpp wants, and `config.json` and the
 * tokenizer become key-value pairs. A GGUF model passes as it is.
 *
 * All that can be wrong with a model is found with its first record, before anything is passed on.
 *
 * @throws AprError `APR_BAD_OPTION` at once; as the stream's error `APR_UNSUPPORTED` for an architecture, a tensor or a
 *   tokenizer that is not known, `APR_BAD_METADATA` for what is missing in the folder, `APR_BAD_INDEX` for tensors that
 *   are missing or have other shapes, `APR_BAD_VALUE` for NaN, infinity, and numbers too large for the dtype
 */
export function toGguf(options: ToGgufOptions = {}): TensorTransform {
  const checked = checkOptions(options, TO_GGUF_OPTIONS)
  return ggufStage(() => ggufConversion(checked))
}

/** Reads what the options speak of. */
export async function ggufConversion({ outtype, pre, config }: CheckedToGgufOptions): Promise<GgufStage> {
  const configFiles = config === undefined ? undefined : await readConfigFolder(config)
  return new GgufStage({ outtype, pre, configFiles })
}

/**
 * The stream of a conversion, which may be asked for its plan as well.
 * @param open called with the first record
 */
export function ggufStage(open: () => GgufStage | Promise<GgufStage>): TensorTransform {
  return transformFace(new ToGguf(open))
}

/** What is made of a model's records. */
interface Work {
  readonly stage: GgufStage
  readonly intake: Intake
  /** Undefined where records pass as they are. */
  readonly runsOf: (model: Model) => ConvertedRuns | undefined
}

class ToGguf extends Transform {
  readonly #open: () => GgufStage | Promise<GgufStage>
  #work: Work | undefined
  #runs: ConvertedRuns | undefined

  constructor(open: () => GgufStage | Promise<GgufStage>) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#open = open
  }

  override _transform(value: unknown, done: (error: Error | null, record?: unknown) => void): void {
    bridge(async () => {
      const record = checkIsRecord(value)
      const isFirst = this.#work === undefined
      const { stage, intake, runsOf } = (this.#work ??= work(await this.#open()))
      const model = intake.take(record)
      if (isFirst) this.#pushMade(stage, record.model, model)
      const runs = runsOf(record.model)
      this.#runs = runs ?? this.#runs
      const { dropped } = stage.of(record.model)
      if (runs) this.#convert(record, runs, dropped, model)
      else if (dropped.includes(record.name)) release(record.data)
      else this.push({ ...record, model })
    }, done)
  }

  override _flush(done: Done): void {
    bridge(() => {
      this.#work?.intake.end()
      this.#runs?.checkComplete()
    }, done)
  }

  #pushMade(stage: GgufStage, from: Model, model: Model): void {
    for (const { tensor, made } of stage.of(from).targets ?? []) {
      if (made) this.push({ ...tensor, offset: 0, data: lend(new Uint8Array(made.slice().buffer)), model })
    }
  }

  #convert(record: TensorRecord, runs: ConvertedRuns, dropped: readonly string[], model: Model): void {
    const data = takeOver(record)
    if (!runs.has(record.name)) {
      release(data)
      if (dropped.includes(record.name)) return
      const what = 'expected tensors of the model that came with the first record, found another'
      throw new AprError('APR_BAD_RECORD', what, { tensor: record.name })
    }
    const converted = runs.of(record, data)
    const isWhole = converted.length === 1 && converted[0]?.data === data
    // Parts share the record's memory, which then is nobody's to use again; what was converted leaves it free.
    if (!isWhole && converted.some(({ isView }) => isView)) disown(data)
    for (const { tensor, offset, data: part } of converted) {
      // A pool's buffer goes on as it is; of other memory each consumer has a view of its own.
      const isPools = isWhole && data !== record.data
      this.push({ ...tensor, offset, data: isPools ? part : lend(part.subarray()), model })
    }
    if (!isWhole) release(data)
  }
}

function work(stage: GgufStage): Work {
  return {
    stage,
    intake: new Intake((model) => stage.derive(model)),
    runsOf: oncePerModel((model) => {
      const { targets } = stage.of(model)
      return targets && new ConvertedRuns(targets)
    }),
  }
}
