/** The other way to write a file: all records are there, and it is written from front to back. */
import { Writable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { align, FOOTER_BYTES } from '../formats/apr/header.js'
import { layoutModel } from '../formats/apr/layout.js'
import { AprError } from '../errors.js'
import type { TensorRecord } from '../tensor.js'
import { OutputFile } from './output-file.js'

/** A sink that keeps every record in `records`. */
export function collect(records: TensorRecord[]): Writable {
  return new Writable({
    objectMode: true,
    write(record: TensorRecord, _encoding, done) {
      records.push(record)
      done()
    },
  })
}

/** Writes the file that these records make, whole or not at all. */
export async function writeWhole(
  path: string,
  records: readonly TensorRecord[],
  overwrite: boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  const model = records[0]?.model
  if (model === undefined) {
    throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a stream without any', { file: path })
  }
  const layout = layoutModel(model)
  const byTensor = new Map<string, TensorRecord[]>()
  for (const record of records) byTensor.set(record.name, [...(byTensor.get(record.name) ?? []), record])

  const output = await OutputFile.create(path, overwrite)
  try {
    if (model.origin) await output.refuse(model.origin)
    let position = layout.head.length
    let crc = crc32(layout.head)
    const append = async (bytes: Uint8Array): Promise<void> => {
      signal?.throwIfAborted()
      crc = crc32(bytes, crc)
      await output.write(bytes, position)
      position += bytes.length
    }
    for (const { name, size } of layout.entries) {
      for (const { data } of byTensor.get(name) ?? []) await append(data)
      await append(new Uint8Array(align(size) - size))
    }
    const footer = new Uint8Array(FOOTER_BYTES)
    new DataView(footer.buffer).setUint32(0, crc, true)
    await append(footer)
    // The header comes last: before it, nobody can take the partial file for a model.
    await output.write(layout.head, 0)
    await output.commit()
  } finally {
    await output.discard()
  }
}
