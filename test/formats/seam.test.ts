/** Both engines know no format: a second one goes through them as APR does. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { aprReader, aprWriter, q4k, type TensorRecord } from 'apr-stream'
import { formatReader } from '../../dist/streams/reader.js'
import { formatWriter } from '../../dist/streams/writer.js'
import type { Format } from '../../dist/formats/format.js'
import { arbitraryTensor, filesIn, MemorySource, SAMPLE, sameBytes } from '../helpers/files.js'
import { tiny, tinyFile } from '../helpers/tiny-format.js'

const format = tiny as unknown as Format
const TENSORS = [
  arbitraryTensor('z', 'F32', [40, 300], 1),
  arbitraryTensor('a', 'I8', [7], 2),
  arbitraryTensor('m.empty', 'F16', [0, 4], 3),
  arbitraryTensor('b', 'Q4_K', [3, 300], 4),
].map((tensor) => ({ ...tensor, shape: [...tensor.shape], bytes: Buffer.from(tensor.bytes) }))
const FILE = tinyFile('a second format', TENSORS)

void test('a file of a second format goes through both engines and comes out the same', async (t) => {
  const output = join(t.testdir(), 'out.tiny')
  for (const recordBytes of [1, 1200, 1 << 20]) {
    const source = new MemorySource(FILE)
    await pipeline(formatReader(format, source, { recordBytes }), formatWriter(format, output, { overwrite: true }))
    sameBytes(t, readFileSync(output), FILE, `records of ${recordBytes} bytes`)
    t.equal(source.closed, 1)
  }
})

void test('records may come in another order, and what was not announced is moved to its place', async (t) => {
  const output = join(t.testdir(), 'out.tiny')
  const records: TensorRecord[] = []
  for await (const record of formatReader(format, new MemorySource(FILE)))
    records.push({ ...record, data: record.data.slice() })
  await pipeline(Readable.from(records.reverse()), formatWriter(format, output))
  sameBytes(t, readFileSync(output), FILE, 'in the reverse order')
})

void test('what a format finds wrong is the error of its stream, and no output is left', async (t) => {
  const folder = t.testdir()
  const damaged = Buffer.from(FILE)
  damaged[FILE.length - 20] = 1 + (damaged.at(-20) ?? 0)
  const cases = { APR_BAD_CRC: damaged, APR_BAD_MAGIC: Buffer.from('APR?....'.repeat(9)) }
  for (const [code, file] of Object.entries(cases)) {
    const job = pipeline(formatReader(format, new MemorySource(file)), formatWriter(format, join(folder, 'out.tiny')))
    await t.rejects(job, { code })
  }
  t.same(filesIn(folder), [])
})

void test('a model of one format is not written as another, nor quantized as one', async (t) => {
  const folder = t.testdir()
  const refused = { code: 'APR_BAD_RECORD', message: /expected a model of the format/ }
  await t.rejects(pipeline(formatReader(format, new MemorySource(FILE)), aprWriter(join(folder, 'a.apr'))), refused)
  await t.rejects(pipeline(aprReader(SAMPLE), formatWriter(format, join(folder, 'b.tiny'))), refused)
  await t.rejects(
    pipeline(formatReader(format, new MemorySource(FILE)), q4k(), formatWriter(format, join(folder, 'c.tiny'))),
    refused,
  )
  t.same(filesIn(folder), [])
})
