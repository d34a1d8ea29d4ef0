/**
 * Gathers the records of each tensor. This holds one whole tensor in memory, which is fine for looking at a small model
 * and is what the library itself never does.
 */
import { aprReader } from 'apr-stream'

export async function* wholeTensors(file) {
  let parts = []
  for await (const { name, dtype, shape, size, offset, data } of aprReader(file)) {
    parts.push(data)
    if (offset + data.length < size) continue
    yield { name, dtype, shape, bytes: Buffer.concat(parts) }
    parts = []
  }
}
