import { Transform } from 'streamx'
import { prepareModelCards } from '../../convert/general/model-card.js'
import type { Outtype } from '../../convert/hf-model.js'
import type { TargetTensor } from '../../convert/tensor-plan.js'
import { readConfigFolder } from '../../files/config-folder.js'
import { AprError } from '../../model/errors.js'
import type { Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import type { TensorRecord } from '../../model/record.js'
import { createSimdKernel } from '../../quant/simd.js'
import { checkOptions, type Checked } from '../../options/check.js'
import { TO_GGUF_OPTIONS } from '../../options/table.js'
import { isSameTensor } from '../../records/arrived-tensors.js'
import { lend, release } from '../../records/buffers.js'
import { PieceConverter, type PlacedPiece } from '../../records/piece-converter.js'
import { Intake, oncePerModel } from '../changed-model.js'
import { GgufStage } from './conversion.js'
import { transformFace, type TensorTransform } from '../face.js'
import { bridge, checkIsRecord, QUEUE_BYTES, recordBytes, type Done } from '../streamx.js'

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
  return ggufStage((model) => ggufConversion(checked, model))
}

/** Reads what the options speak of, and prepares for a model. */
export async function ggufConversion({ outtype, pre, config }: CheckedToGgufOptions, model: Model): Promise<GgufStage> {
  const folder = config === undefined ? undefined : await readConfigFolder(config)
  const files = folder?.files ?? (model.format === 'safetensors' ? model.files : undefined)
  // Which files an APR model holds is in its metadata.
  if (files?.has('README.md') ?? model.format === 'apr') await prepareModelCards()
  return new GgufStage({ outtype, pre, config: folder })
}

/**
 * The stream of a conversion, which may be asked for its plan as well.
 * @param open called with the first record's model
 * @param isThere says of a converted tensor that it is written already: its records are not made
 */
export function ggufStage(
  open: (model: Model) => GgufStage | Promise<GgufStage>,
  isThere?: (tensor: TensorInfo) => boolean,
): TensorTransform {
  return transformFace(new ToGguf(open, isThere))
}

/** A tensor as its model announces it, and what is made of it: nothing, where it is dropped. */
interface Source {
  readonly tensor: TensorInfo
  readonly pieces: PlacedPiece[]
}

interface Work {
  readonly stage: GgufStage
  readonly intake: Intake
  /** By name; undefined where records pass as they are. */
  readonly sourcesOf: (model: Model) => ReadonlyMap<string, Source> | undefined
}

class ToGguf extends Transform {
  readonly #open: (model: Model) => GgufStage | Promise<GgufStage>
  readonly #isThere: (tensor: TensorInfo) => boolean
  #work: Work | undefined
  #converter: PieceConverter | undefined

  constructor(
    open: (model: Model) => GgufStage | Promise<GgufStage>,
    isThere: (tensor: TensorInfo) => boolean = () => false,
  ) {
    super({ highWaterMark: QUEUE_BYTES, byteLength: recordBytes })
    this.#open = open
    this.#isThere = isThere
  }

  override _transform(value: unknown, done: (error: Error | null, record?: unknown) => void): void {
    bridge(async () => {
      const record = checkIsRecord(value)
      const isFirst = this.#work === undefined
      const { stage, intake, sourcesOf } = (this.#work ??= this.#workOf(await this.#open(record.model)))
      const model = intake.take(record)
      const sources = sourcesOf(record.model)
      if (isFirst) this.#pushMade(stage, record.model, model)
      if (sources) this.#convert(record, sources.get(record.name), model)
      else if (stage.of(record.model).dropped.includes(record.name)) release(record.data)
      else this.push({ ...record, model })
    }, done)
  }

  override _flush(done: Done): void {
    bridge(() => {
      this.#work?.intake.end()
      this.#converter?.checkComplete()
    }, done)
  }

  /** What comes from no record: tensors that are made, and those without any element. */
  #pushMade(stage: GgufStage, from: Model, model: Model): void {
    for (const { tensor, made } of stage.of(from).targets ?? []) {
      if ((!made && tensor.size > 0) || this.#isThere(tensor)) continue
      const data = new Uint8Array((made?.slice() ?? new Float32Array(0)).buffer)
      this.push({ ...tensor, offset: 0, data: lend(data), model })
    }
  }

  #convert(record: TensorRecord, source: Source | undefined, model: Model): void {
    if (!source || !isSameTensor(source.tensor, record)) {
      const what = `expected tensors as their model announces them, found ${record.dtype} [${record.shape.join(', ')}], which is none of these`
      throw new AprError('APR_BAD_RECORD', what, { tensor: record.name })
    }
    if (source.pieces.length === 0) {
      release(record.data)
      return
    }
    this.#converter ??= new PieceConverter(createSimdKernel())
    for (const { target, offset, data } of this.#converter.convert(record, source.pieces)) {
      this.push({ ...target, offset, data, model })
    }
  }

  #workOf(stage: GgufStage): Work {
    const sourcesOf = oncePerModel((model) => {
      const targets = stage.of(model).targets?.filter(({ tensor }) => !this.#isThere(tensor))
      return targets && sourcesByName(model, targets)
    })
    return { stage, intake: new Intake((model) => stage.derive(model)), sourcesOf }
  }
}

function sourcesByName(model: Model, targets: readonly TargetTensor[]): Map<string, Source> {
  const sources = new Map(model.tensors.map((tensor): [string, Source] => [tensor.name, { tensor, pieces: [] }]))
  for (const { tensor: target, pieces } of targets) {
    for (const piece of pieces) sources.get(piece.source)?.pieces.push({ piece, target })
  }
  return sources
}
