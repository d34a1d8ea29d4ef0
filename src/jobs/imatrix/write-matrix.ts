/** Writes an importance matrix as `llama-imatrix` does, in its GGUF form. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { arrayKv, kv, type GgufModel } from '../../formats/formats.js'
import { columnsOf, matricesOf, type TensorInfo } from '../../model/tensor.js'
import type { TensorRecord } from '../../model/record.js'
import type { Moments } from '../../recipes/moments/moments.js'
import { ggufWriter } from '../../streams/writer.js'

/** What the file says that it was computed on. */
export const DATASET = 'none: second moments of the weights'

/**
 * @param tensors that get values, all of them and in this order
 * @param moments their values
 */
export async function writeMatrix(
  output: string,
  tensors: readonly TensorInfo[],
  moments: AsyncIterable<Moments>,
  options: { readonly overwrite: boolean; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const model: GgufModel = Object.freeze({
    format: 'gguf',
    tensors: Object.freeze(tensors.flatMap((tensor) => [sumsOf(tensor), countsOf(tensor)])),
    kvs: Object.freeze([
      kv('general.type', 'string', 'imatrix'),
      arrayKv('imatrix.datasets', 'string', [DATASET]),
      // None was read: what stands for a count of 1 is not measured on text.
      kv('imatrix.chunk_count', 'u32', 0),
      kv('imatrix.chunk_size', 'u32', 0),
    ]),
  })
  const { overwrite, signal } = options
  const writer = ggufWriter(output, { overwrite }) as unknown as NodeJS.WritableStream
  await pipeline(Readable.from(records(moments, model)), writer, { ...(signal && { signal }) })
}

async function* records(moments: AsyncIterable<Moments>, model: GgufModel): AsyncGenerator<TensorRecord> {
  for await (const { tensor, values } of moments) {
    const rounded = Float32Array.from(values)
    const row = new Uint8Array(rounded.buffer)
    const sums = sumsOf(tensor)
    // One that counts for all matrices is written for each of them.
    for (let offset = 0; offset < sums.size; offset += row.length) {
      yield { ...sums, offset, data: row.slice(), model }
    }
    const counts = countsOf(tensor)
    yield { ...counts, offset: 0, data: new Uint8Array(new Float32Array(counts.size / 4).fill(1).buffer), model }
  }
}

/** Sums of squares a column of each matrix. */
function sumsOf(tensor: TensorInfo): TensorInfo {
  const shape = [matricesOf(tensor), columnsOf(tensor)]
  return { name: `${tensor.name}.in_sum2`, dtype: 'F32', shape, size: matricesOf(tensor) * columnsOf(tensor) * 4 }
}

/** How many were summed up in each matrix. */
function countsOf(tensor: TensorInfo): TensorInfo {
  return {
    name: `${tensor.name}.counts`,
    dtype: 'F32',
    shape: [matricesOf(tensor), 1],
    size: matricesOf(tensor) * 4,
  }
}
