/** Takes an output where it is to be. */
import type { Layout } from '../../formats/format.js'
import type { ModelOutput } from './model-output.js'
import { Output } from './output.js'
import type { OutputOptions } from './output-options.js'
import type { OutputPlace } from './output-place.js'

/**
 * Takes an output, on a disk or in object storage.
 * @throws AprError `APR_EXISTS`, `APR_SAME_FILE`, `APR_BUSY`, `APR_REMOTE`, and the file system's own errors
 */
export async function openModelOutput(
  place: OutputPlace,
  layout: Layout,
  options: OutputOptions,
): Promise<ModelOutput> {
  if (!place.object) return await Output.create(place, layout.files, options)
  const { S3Output } = await import(/* webpackMode: "eager" */ './s3/s3-output.js')
  return await S3Output.create(place, place.object, layout, options)
}
