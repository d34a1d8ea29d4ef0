/** The other way to write a file: all records are there, and it is written from front to back. */
import { basename } from 'node:path'
import { Writable } from 'node:stream'
import { crc32 } from '../checksum/crc32.js'
import { AprError, checkNotAborted } from '../model/errors.js'
import { formatOf } from '../formats/formats.js'
import type { TensorRecord } from '../model/record.js'
import type { OutputFile } from '../files/output-file.js'
import { ArrivedTensors } from '../records/arrived-tensors.js'
import { settledModel } from '../streams/changed-model.js'

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
  const layout = formatOf(model).layout(model, { name: basename(output.path), isFolder: false })
  const [file] = layout.files
  const crcs = new Map<string, number>()
  for (const { tensor, position } of layout.tensors) {
    let crc = 0
    for (const record of byTensor.get(tensor.name) ?? []) {
      checkNotAborted(signal)
      crc = crc32(record.data, crc)
      await output.write(record.data, position + record.offset)
      onWritten(record)
    }
    crcs.set(tensor.name, crc)
  }
  const head = file.head()
  const tail = file.tail(head, (name) => crcs.get(name) ?? 0)
  await output.commit(head, file.sealBytes, tail, file.fileSize, () => checkNotAborted(signal))
}
