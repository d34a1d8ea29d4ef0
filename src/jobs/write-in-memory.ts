/** The other way to write a file: all records are there, and it is written from front to back. */
import { Writable } from 'node:stream'
import { AprError, checkNotAborted } from '../model/errors.js'
import { formatOf } from '../formats/formats.js'
import type { TensorRecord } from '../model/record.js'
import type { ModelOutput } from '../files/output/model-output.js'
import { ArrivedBytes, checkSameTensor } from '../records/arrived-bytes.js'
import { ArrivedTensors } from '../records/arrived-tensors.js'
import { settledModel } from '../streams/changed-model.js'
import { endingsOf } from '../streams/writer.js'

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
  output: ModelOutput,
  records: readonly TensorRecord[],
  signal: AbortSignal | undefined,
  onWritten: (record: TensorRecord) => void = () => undefined,
): Promise<void> {
  const last = records.at(-1)
  if (last === undefined) {
    throw new AprError('APR_BAD_RECORD', 'expected at least one tensor, found a stream without any', {
      file: output.place.path,
    })
  }
  const byTensor = new Map<string, { bytes: ArrivedBytes; records: TensorRecord[] }>()
  const arrived = new ArrivedTensors()
  for (const record of records) {
    if (record.offset === 0) arrived.add(record, record.model.tensors)
    const tensor = byTensor.get(record.name)
    if (tensor) tensor.records.push(record)
    else byTensor.set(record.name, { bytes: new ArrivedBytes(record), records: [record] })
  }
  const model = settledModel(last.model, arrived)
  const layout = formatOf(model).layout(model, output.place)
  if (!output.hasFiles(layout.files)) await output.rearrange(layout.files, [])
  for (const { tensor, file, position } of layout.tensors) {
    const found = byTensor.get(tensor.name)
    for (const record of found?.records ?? []) {
      checkNotAborted(signal)
      checkSameTensor(record, tensor)
      found?.bytes.add(record)
      await output.write(record.data, file, position + record.offset)
      onWritten(record)
    }
  }
  // Also of tensors whose first bytes never came: these are in no layout.
  for (const { bytes } of byTensor.values()) bytes.checkComplete()
  const crc = (name: string): number => byTensor.get(name)?.bytes.crc ?? 0
  await output.commit(endingsOf(layout, crc), () => checkNotAborted(signal))
}
