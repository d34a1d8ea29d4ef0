/** The other way to write a file: all records are there, and it is written from front to back. */
import { Writable } from 'node:stream'
import { crc32 } from '../checksum/crc32.js'
import { AprError, checkNotAborted } from '../model/errors.js'
import { align, FOOTER_BYTES, HEADER_BYTES } from '../formats/apr/header.js'
import { encodeHead, layoutModel } from '../formats/apr/layout.js'
import type { TensorRecord } from '../model/tensor.js'
import type { OutputFile } from '../files/output-file.js'
import { ArrivedTensors } from './arrived-tensors.js'
import { settledModel } from './changed-model.js'

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

/**
 * Writes the file that these records make. The output is open, and closed by the caller.
 * @param onWritten called when a record is written
 */
export async function writeWhole(
  output: OutputFile,
  records: readonly TensorRecord[],
  signal: AbortSignal | undefined,
  onWritten: (record: TensorRecord) => void = () => undefined,
): Promise<void> {
  const last = records.at(-1)
  if (last === undefined) {
    throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a stream without any', {
      file: output.path,
    })
  }
  const byTensor = new Map<string, TensorRecord[]>()
  const arrived = new ArrivedTensors()
  for (const record of records) {
    if (record.offset === 0) arrived.add(record, record.model.tensors)
    const parts = byTensor.get(record.name)
    if (parts) parts.push(record)
    else byTensor.set(record.name, [record])
  }
  const model = settledModel(last.model, arrived)
  const layout = layoutModel(model)
  const head = encodeHead(model)
  let position = head.length
  let crc = crc32(head)
  const append = async (bytes: Uint8Array): Promise<void> => {
    checkNotAborted(signal)
    crc = crc32(bytes, crc)
    await output.write(bytes, position)
    position += bytes.length
  }
  for (const { name, size } of layout.entries) {
    for (const record of byTensor.get(name) ?? []) {
      await append(record.data)
      onWritten(record)
    }
    await append(new Uint8Array(align(size) - size))
  }
  const footer = new Uint8Array(FOOTER_BYTES)
  new DataView(footer.buffer).setUint32(0, crc, true)
  await output.commit(head, HEADER_BYTES, footer, layout.fileSize, () => checkNotAborted(signal))
}
