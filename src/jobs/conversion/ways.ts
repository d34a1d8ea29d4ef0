/** From which format to which there is a way, and the stage that goes it. */
import type { TargetTensor } from '../../convert/tensor-plan.js'
import type { OpenedModel } from '../../formats/format.js'
import { FORMATS } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import type { FormatName, Model } from '../../model/model.js'
import type { TensorInfo } from '../../model/tensor.js'
import { aprStage } from '../../streams/convert/to-apr.js'
import { ggufConversion, ggufStage, type CheckedToGgufOptions } from '../../streams/convert/to-gguf.js'
import { passStage } from '../../streams/tensor-stages.js'
import { toTransform, type RecordStage, type StageShape } from '../../streams/stage.js'
import type { TensorTransform } from '../../streams/face.js'

export const FORMAT_NAMES = Object.keys(FORMATS) as FormatName[]

/** A stage of a job: what it makes of a model, and its stream. */
export interface JobStage extends StageShape {
  /** @param isThere says of a tensor of its output that it is written already: its records are not made */
  stream(isThere: (tensor: TensorInfo) => boolean): TensorTransform
  /** What each tensor of its output is made of; undefined: of the bytes of the one of its name. */
  targets(model: Model): readonly TargetTensor[] | undefined
}

/** A way to a format: from which others, and the stage. */
interface Way {
  readonly from: readonly FormatName[]
  readonly stage: (options: CheckedToGgufOptions, model: Model) => JobStage | Promise<JobStage>
}

const WAYS: Readonly<Record<FormatName, Way>> = {
  apr: { from: ['safetensors', 'gguf'], stage: () => jobStage(aprStage) },
  gguf: {
    from: ['safetensors', 'apr'],
    async stage(options, source) {
      const conversion = await ggufConversion(options, source)
      return Object.assign(conversion, {
        stream: (isThere: (tensor: TensorInfo) => boolean) => ggufStage(() => conversion, isThere),
        targets: (model: Model) => conversion.of(model).targets,
      })
    },
  },
  safetensors: { from: [], stage: () => jobStage(passStage) },
}

function jobStage(stageOf: (isThere: (tensor: TensorInfo) => boolean) => RecordStage): JobStage {
  return { ...stageOf(() => false), stream: (isThere) => toTransform(stageOf(isThere)), targets: () => undefined }
}

/** What passes a model as it is. */
export const PASS: JobStage = jobStage(passStage)

/**
 * The stage that leads from an opened model to a format; undefined where it is of that format.
 * @throws AprError `APR_UNSUPPORTED` where there is no way
 */
export async function wayTo(
  to: FormatName,
  { model, input }: OpenedModel,
  options: CheckedToGgufOptions,
): Promise<JobStage | undefined> {
  const { format: from } = model
  if (from === to) return undefined
  const way = WAYS[to]
  try {
    if (way.from.includes(from)) return await way.stage(options, model)
    const others = way.from.length === 0 ? 'only from safetensors' : `from ${way.from.join(' and ')}`
    throw new AprError('APR_UNSUPPORTED', `expected a model that ${to} can be made of, ${others}, found one of ${from}`)
  } catch (error) {
    throw error instanceof AprError ? error.at({ file: input.name }) : error
  }
}

/** The format that an output's ending speaks of. */
export function formatByEnding(path: string): FormatName | undefined {
  return FORMAT_NAMES.find((name) => path.endsWith(FORMATS[name].extension))
}

/** The format that an output's name speaks of: its ending, or the slash of a folder. */
export function formatByName(path: string): FormatName | undefined {
  const isFolder = /[/\\]$/.test(path)
  return isFolder ? FORMAT_NAMES.find((name) => FORMATS[name].nameInFolder !== undefined) : formatByEnding(path)
}

/** @throws AprError `APR_BAD_OPTION` for a model that is to be split and cannot be */
export function checkSplit(to: FormatName, splitMaxBytes: number | undefined): void {
  if (splitMaxBytes === undefined || FORMATS[to].isSplittable) return
  throw new AprError('APR_BAD_OPTION', `expected no \`splitMaxBytes\` where ${to} is written: it is always one file`)
}
