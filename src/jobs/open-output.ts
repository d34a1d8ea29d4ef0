/** Takes the output of a job, once all was checked that can be without reading a tensor. */
import { createHash } from 'node:crypto'
import { dirname } from 'node:path'
import { statfs } from 'node:fs/promises'
import type { ModelOutput } from '../files/output/model-output.js'
import { openModelOutput } from '../files/output/open-model-output.js'
import { partialBytes } from '../files/output/output-files.js'
import { findPlace, type OutputPlace } from '../files/output/output-place.js'
import type { PhaseProgress } from '../files/output/output-options.js'
import { naming } from '../files/open-source.js'
import type { FilePath } from '../files/path.js'
import { layoutBytes, type Layout, type LayoutOptions } from '../formats/format.js'
import { formatOf, FORMATS } from '../formats/formats.js'
import { AprError } from '../model/errors.js'
import type { FormatName, Model } from '../model/model.js'
import { VERSION } from '../version.js'
import type { Progress } from './job.js'

/** What an output is asked for, checked. */
export interface JobOutput {
  readonly overwrite: boolean
  readonly resume: boolean
  readonly spaceCheck: boolean
  readonly splitMaxBytes: number | undefined
  /** Tensors of each file, where it is to be cut just so. */
  readonly fileTensors?: readonly number[] | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: Progress) => void) | undefined
}

/**
 * Locks the output of a model.
 * @param job names all that decides its bytes beside the model; undefined where it cannot be gone on with
 * @throws AprError `APR_NO_SPACE`, and those of the output
 */
export async function openOutput(
  { given, absolute }: FilePath,
  model: Model,
  job: readonly unknown[] | undefined,
  options: JobOutput,
): Promise<ModelOutput> {
  const format = formatOf(model)
  const found = await placeOf({ given, absolute }, format.nameInFolder, options.splitMaxBytes)
  const place = { ...found, fileTensors: options.fileTensors }
  const layout = format.layout(model, place)
  if (options.spaceCheck && !place.object) await checkSpace(place, layout, given)
  const { overwrite, resume, signal, onProgress } = options
  const onCheck = onProgress && ((done: PhaseProgress) => onProgress({ phase: 'checking', ...done }))
  try {
    return await openModelOutput(place, layout, {
      ...{ overwrite, resume, signal, onCheck },
      job: job && jobName(layout, job),
      origin: model.origin,
      isPart: format.isPart?.bind(format, place.name),
    })
  } catch (error) {
    throw naming(given, error, place.path)
  }
}

/** As `findPlace`, with errors that name the output as it was given. */
export async function placeOf(
  { given, absolute }: FilePath,
  nameInFolder: string | undefined,
  maxFileBytes: number | undefined,
): Promise<OutputPlace> {
  try {
    return await findPlace(absolute, nameInFolder, maxFileBytes)
  } catch (error) {
    throw naming(given, error, absolute)
  }
}

/** How an output is laid out: where it will stand, or, where that is not said, as one whose name is the format's. */
export async function layoutPlace(
  output: FilePath | undefined,
  to: FormatName,
  maxFileBytes: number | undefined,
): Promise<LayoutOptions> {
  const { extension, nameInFolder } = FORMATS[to]
  if (output) return await placeOf(output, nameInFolder, maxFileBytes)
  return { name: `model${extension}`, isFolder: false, maxFileBytes }
}

/** Heads say names, dtypes, shapes and metadata: with what is given all that decides the bytes. */
function jobName({ files }: Layout, job: readonly unknown[]): string {
  const hash = createHash('sha256').update(JSON.stringify([VERSION, ...job]))
  for (const file of files) hash.update(file.head())
  return hash.digest('hex')
}

/** @throws AprError `APR_NO_SPACE` with both numbers */
async function checkSpace(place: OutputPlace, layout: Layout, file: string): Promise<void> {
  // A link may lead to another disk; a folder that is still to be made will be on that of the one it is in.
  const folder = place.isNewFolder ? dirname(place.folder) : place.folder
  await refuseTooLittleSpace(folder, layoutBytes(layout), await partialBytes(place, layout.files), file)
}

/**
 * @param taken bytes on the disk that are of the same output already
 * @throws AprError `APR_NO_SPACE` with both numbers
 */
export async function refuseTooLittleSpace(folder: string, needed: number, taken: number, file: string): Promise<void> {
  const free = (await freeBytes(folder)) + taken
  if (free >= needed) return
  const what = `expected ${needed} bytes free on the output's disk, found ${free}; \`spaceCheck: false\` starts all the same`
  throw new AprError('APR_NO_SPACE', what, { file })
}

/** Bytes that this user may still write on the disk that holds `folder`. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
