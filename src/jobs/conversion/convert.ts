import type { ModelOutput } from '../../files/output/model-output.js'
import { Output } from '../../files/output/output.js'
import { outputPath } from '../../files/output/output-place.js'
import { refuseSameObject, toOutput } from '../../files/path.js'
import { formatOf } from '../../formats/formats.js'
import type { ByteSource } from '../../model/byte-source.js'
import { AprError } from '../../model/errors.js'
import { CONVERT_OPTIONS } from '../../options/table.js'
import { turn } from '../../streams/event-loop.js'
import { openModel } from '../../streams/open-input.js'
import { readOpened } from '../../streams/reader.js'
import { writeOpened } from '../../streams/writer.js'
import { planOf, readingFor, type Conversion, type ConvertOptions, type ConvertReport } from './conversion.js'
import { openToRead } from '../reading/input.js'
import { peakMemoryBytes } from '../mode.js'
import { observed } from '../observe.js'
import { openOutput } from '../open-output.js'
import { makeInThreads } from '../parts/in-threads.js'
import { threadsForParts, threadsToConvert } from '../parts/use-threads.js'
import { progressStage } from '../progress.js'
import { run } from '../run.js'

/**
 * Converts a model from a format to another, or from a format to itself: so splits are joined, models split, and split
 * another way. One pass, in constant memory. The output appears whole or not at all.
 *
 * @param input a path of a file or folder, a `file:` URL, or a ByteSource, which is closed once, whatever happens
 * @param output a path, or a `file:` URL; its ending tells the format, and a slash at its end, or a folder that is there, safetensors
 * @throws AprError `APR_BAD_OPTION`, `APR_NO_SPACE`, `APR_UNSUPPORTED` where there is no way between the formats, and the
 *   errors of the stages
 * @throws an `AbortError` when `signal` ends the job
 */
export async function convert(
  input: string | URL | ByteSource,
  output: string | URL,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  return await observed(input, output, () => runJob(input, output, options))
}

async function runJob(
  input: string | URL | ByteSource,
  output: string | URL,
  options: ConvertOptions,
): Promise<ConvertReport> {
  const started = performance.now()
  let place = { given: '', absolute: '' }
  const { input: found, options: checked } = await openToRead(input, options, CONVERT_OPTIONS, () => {
    const given = toOutput('the output', output)
    refuseSameObject(input, given)
    place = { given, absolute: outputPath(given, true) }
  })
  const { onProgress, signal } = checked
  const opened = await openModel(found, undefined, readingFor(checked, place))
  const prepare = async (): Promise<{ conversion: Conversion; target: ModelOutput }> => {
    await turn()
    const conversion = await planOf(opened, place, checked)
    await turn()
    if (conversion.model.tensors.length === 0) {
      const what = 'expected at least one tensor, found a model without any'
      throw new AprError('APR_BAD_RECORD', what, { file: found.name })
    }
    const { outtype, pre, splitMaxBytes } = checked
    const { inputFormat, outputFormat } = conversion.summary
    const isNamed = opened.version !== undefined
    const job = isNamed ? [opened.version, inputFormat, outputFormat, outtype, pre, splitMaxBytes] : undefined
    return { conversion, target: await openOutput(place, conversion.model, job, checked) }
  }
  const { conversion, target } = await prepare().catch(async (error: unknown) => {
    await found.close()
    throw error
  })
  const { stage, model, summary } = conversion
  const { resumed } = target
  // The writer learns the model from a record: one at least has to come.
  const [first] = model.tensors
  if (first && resumed.size === model.tensors.length) target.forget(first.name)
  const threads = threadsForParts(opened, threadsToConvert(opened.size))
  try {
    // Threads write to a file by themselves; an object is sent by one.
    if (threads > 0 && target instanceof Output) {
      const stages = { opened, way: stage, converted: model, quantization: undefined, model, target }
      const { recordBytes } = checked
      const onLost = (): void => undefined
      await makeInThreads({ ...stages, threads, recordBytes, phase: 'converting', onProgress, onLost, signal })
    } else {
      await run(
        [
          readOpened(opened, checked),
          ...progressStage('converting', opened.model.tensors, onProgress),
          // Every byte of the input is read and checked, also of tensors that are done.
          stage.stream(({ name }) => resumed.has(name)),
          writeOpened(formatOf(model), target, checked),
        ],
        signal,
      )
    }
  } catch (error) {
    // What came too late to keep the output from its place is no failure.
    if (!target.isInPlace) throw error instanceof AprError ? error.at({ file: found.name }) : error
  }
  return {
    ...summary,
    output: place.given,
    resumedTensors: resumed.size,
    restartReason: target.restartReason,
    seconds: (performance.now() - started) / 1000,
    peakMemoryBytes: await peakMemoryBytes(),
  }
}
