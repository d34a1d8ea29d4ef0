/** A run of llama-quantize: a GGUF model becomes another, in one pass and in constant memory. */
import { openModelInput } from '../../files/model-input.js'
import { fixPath } from '../../files/path.js'
import type { OpenedModel } from '../../formats/format.js'
import { FORMATS } from '../../formats/formats.js'
import { AprError } from '../../model/errors.js'
import { openModel } from '../../streams/open-input.js'
import { readOpened } from '../../streams/reader.js'
import { writeOpened } from '../../streams/writer.js'
import { openOutput } from '../open-output.js'
import { progressStage } from '../progress.js'
import { abortableSources } from '../reading/abort.js'
import { run } from '../run.js'
import { planRun, type LlamaQuantizeOptions, type PlannedRun } from './plan.js'
import { keptTensors } from './stages.js'

/**
 * @param output the file, or with `keepSplit` the start of its parts' names; undefined: nothing is written. What stands
 *   there is replaced
 * @throws AprError for all that can be wrong with model and options, the file system's own errors, and an `AbortError`
 */
export async function llamaQuantize(
  input: string,
  output: string | undefined,
  options: LlamaQuantizeOptions,
): Promise<void> {
  const { signal, onPlan } = options
  const opened = await openModel(await openModelInput(input, signal && abortableSources(signal)), FORMATS.gguf)
  try {
    const planned = planRun(opened.model, options)
    onPlan?.(planned.tensors)
    if (output !== undefined) await write(opened, planned, output, options)
  } catch (error) {
    throw error instanceof AprError ? error.at({ file: input }) : error
  } finally {
    await opened.input.close()
  }
}

async function write(
  opened: OpenedModel,
  { model, stages }: PlannedRun,
  output: string,
  options: LlamaQuantizeOptions,
): Promise<void> {
  const { keepSplit, onProgress, signal } = options
  const fileTensors = keepSplit ? partTensors(opened, options) : undefined
  const place = fixPath('the output', keepSplit ? partsPath(output, fileTensors?.length ?? 1) : output)
  const target = await openOutput(place, model, undefined, {
    ...{ overwrite: true, resume: false, spaceCheck: true, splitMaxBytes: undefined, fileTensors, signal, onProgress },
  })
  try {
    const progress = progressStage('quantizing', opened.model.tensors, onProgress)
    await run([readOpened(opened), ...progress, ...stages(), writeOpened(FORMATS.gguf, target)], signal)
  } catch (error) {
    // What came too late to keep the output from its place is no failure.
    if (!target.isInPlace) throw error
  }
}

/** How many tensors each part has of those that stay. A last part without any is none. */
function partTensors({ model, tensors }: OpenedModel, { pruneLayers }: LlamaQuantizeOptions): number[] {
  const kept = keptTensors(model, pruneLayers)
  const counts: number[] = []
  for (const { tensor, file } of tensors) {
    if (!kept.has(tensor.name)) continue
    while (counts.length <= file) counts.push(0)
    counts[file] = (counts[file] ?? 0) + 1
  }
  return counts
}

/** One part has the name that it would have among several. */
function partsPath(prefix: string, parts: number): string {
  return parts > 1 ? `${prefix}.gguf` : `${prefix}-00001-of-00001.gguf`
}
