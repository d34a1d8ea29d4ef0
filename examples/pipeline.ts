/**
 * The streams in TypeScript: records are typed, and Node's pipeline takes the stages as they are. This file is
 * type-checked with the tests; a Node that strips types runs it: node examples/pipeline.ts [input [output]]
 */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform, type TransformCallback } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  AprError,
  aprReader,
  aprWriter,
  filterTensors,
  q4k,
  selectByDefault,
  type DType,
  type Q4KOptions,
  type Select,
  type TensorInfo,
  type TensorRecord,
} from 'apr-stream'

const input = process.argv[2] ?? join(import.meta.dirname, 'models', 'silero-vad.apr')
const output = process.argv[3] ?? join(mkdtempSync(join(tmpdir(), 'apr-stream-')), 'out.apr')

const select: Select = (tensor) => selectByDefault(tensor) && !tensor.name.startsWith('stft')
const options: Q4KOptions = { fit: 'search', kept: 'auto', select }

/** Counts the bytes that pass, by dtype. */
function count(bytes: Map<DType, number>): Transform {
  return new Transform({
    objectMode: true,
    highWaterMark: 1,
    transform(record: TensorRecord, _encoding: BufferEncoding, done: TransformCallback) {
      bytes.set(record.dtype, (bytes.get(record.dtype) ?? 0) + record.data.length)
      done(null, record)
    },
  })
}

/** An async generator as a stage. */
async function* withoutEmptyTensors(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) {
    if (record.size > 0) yield record
  }
}

const bytes = new Map<DType, number>()
try {
  // Node's types for pipeline know up to six stages by name.
  await pipeline(
    aprReader(input),
    filterTensors(({ shape }: TensorInfo) => shape.length > 0),
    withoutEmptyTensors,
    q4k(options),
    count(bytes),
    aprWriter(output),
  )
  console.log(output)
  for (const [dtype, size] of bytes) console.log(`${dtype}: ${size} bytes`)
} catch (error) {
  if (!(error instanceof AprError)) throw error
  console.error(`${error.code}: ${error.message}`)
  process.exitCode = 1
}
