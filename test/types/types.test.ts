/**
 * What user code may write, and what the compiler refuses. The proof is that this file compiles with `tsc -p test`:
 * every line marked `@ts-expect-error` must be an error.
 */
import { once } from 'node:events'
import { Readable, Transform, Writable, type TransformCallback } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'tap'
import {
  aprReader,
  AprError,
  aprWriter,
  filterTensors,
  inspect,
  mapMetadata,
  mapTensors,
  openFile,
  plan,
  q4k,
  quantize,
  selectByDefault,
  verify,
  type AprErrorCode,
  type Model,
  type ByteSource,
  type DType,
  type Plan,
  type QuantizeReport,
  type ReadOptions,
  type TensorInfo,
  type TensorReadable,
  type TensorRecord,
  type TensorTransform,
  type TensorWritable,
} from 'apr-stream'
import { SAMPLE } from '../helpers/files.js'

/** A stage of the user's own. */
class DropSmall extends Transform {
  constructor() {
    super({ objectMode: true })
  }

  override _transform(record: TensorRecord, _encoding: BufferEncoding, done: TransformCallback): void {
    if (record.size >= 1000) this.push(record)
    done()
  }
}

async function* rename(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) yield { ...record, name: `model.${record.name}` }
}

void test('stages go into a pipeline with Transforms and generators of the user', async (t) => {
  const folder = t.testdir()
  let outputs = 0
  const output = (): string => join(folder, `${++outputs}.apr`)
  await pipeline(aprReader(SAMPLE), q4k(), aprWriter(output()))
  await pipeline(aprReader(SAMPLE), new DropSmall(), q4k({ fit: 'minmax' }), aprWriter(output()))
  await pipeline(aprReader(SAMPLE), rename, aprWriter(output()))
  await pipeline(aprReader(SAMPLE), rename, new DropSmall(), q4k(), rename, aprWriter(output()))
  await pipeline(
    aprReader(SAMPLE, { recordBytes: 65_536, highWaterMark: 1_000_000 }),
    filterTensors(({ name, dtype, shape, size }) => !name.endsWith('.bias') && dtype === 'F32' && shape[0] !== size),
    mapTensors(({ name }) => ({ name: name.toUpperCase() })),
    mapMetadata((metadata) => ({ name: metadata['model_type'], seed: undefined })),
    q4k({ fit: 'search', kept: 'same', threads: 1, select: (tensor) => selectByDefault(tensor) }),
    aprWriter(output(), { overwrite: true, highWaterMark: 1_000_000 }),
    { signal: new AbortController().signal },
  )
  await once(aprReader(SAMPLE).pipe(q4k()).pipe(aprWriter(output())), 'close')
  await pipeline(Readable.from(aprReader(SAMPLE)), new Writable({ objectMode: true, write: (_r, _e, done) => done() }))
})

void test('a loop over a reader has typed records', async (t) => {
  const reader: TensorReadable = aprReader(SAMPLE)
  for await (const record of reader) {
    const { name, dtype, shape, size, offset, data, model }: TensorRecord = record
    const fields: [string, DType, readonly number[], number, number, Uint8Array, Model] = [
      ...([name, dtype, shape, size] as const),
      ...([offset, data, model] as const),
    ]
    t.equal(fields[3], size)
    // @ts-expect-error: a record is not changed in place
    const change = (): number => (record.offset = 1)
    t.type(change, 'function')
    // @ts-expect-error: there is no such field
    t.equal(record.bytes, undefined)
    break
  }
})

void test('options that are misspelled or of another type do not compile', (t) => {
  const refused = [
    // @ts-expect-error: it is called highWaterMark
    () => aprReader(SAMPLE, { highWatermark: 1 }),
    // @ts-expect-error: a number, not a text
    () => aprReader(SAMPLE, { recordBytes: '1' }),
    // @ts-expect-error: not one of the fits
    () => q4k({ fit: 'best' }),
    // @ts-expect-error: in lower case
    () => q4k({ kept: 'F32' }),
    // @ts-expect-error: returns no boolean
    () => q4k({ select: ({ name }) => name }),
    // @ts-expect-error: returns no boolean but a promise of one
    () => q4k({ select: () => Promise.resolve(false) }),
    // @ts-expect-error: returns no boolean but a promise of one
    () => filterTensors(() => Promise.resolve(false)),
    // @ts-expect-error: returns no fields but a promise of them
    () => mapTensors(() => Promise.resolve({ name: 'x' })),
    // @ts-expect-error: returns no keys but a promise of them
    () => mapMetadata(() => Promise.resolve({ name: 'x' })),
    // @ts-expect-error: a boolean, not a text
    () => aprWriter('out.apr', { overwrite: 'false' }),
    // @ts-expect-error: options are an object
    () => q4k(null),
    // @ts-expect-error: the controller is no signal
    () => verify(SAMPLE, { signal: new AbortController() }),
    // @ts-expect-error: inspect has no mode
    () => inspect(SAMPLE, { mode: 'stream' }),
    // @ts-expect-error: bytes are no path
    () => aprWriter(Buffer.from('out.apr')),
    // @ts-expect-error: it is called overwrite
    () => aprWriter('out.apr', { force: true }),
    // @ts-expect-error: it is called overwrite
    () => quantize(SAMPLE, 'out.apr', { overwrites: true }),
    // @ts-expect-error: not one of the modes
    () => quantize(SAMPLE, 'out.apr', { mode: 'fast' }),
    // @ts-expect-error: an output is needed
    () => quantize(SAMPLE),
    // @ts-expect-error: a size cannot be changed
    () => mapTensors(() => ({ size: 4 })),
    // @ts-expect-error: no dtype of the format
    () => mapTensors(() => ({ dtype: 'F8' })),
    // @ts-expect-error: no function
    () => filterTensors('name'),
    // @ts-expect-error: a source fills a buffer
    () => aprReader({ name: 'x', size: 1, read: () => Promise.resolve(new Uint8Array()), close: () => 1 }),
  ]
  t.equal(refused.length, 22)
  t.end()
})

void test('the public types say what programs need', async (t) => {
  const stages: [TensorReadable, TensorTransform, TensorWritable] = [aprReader(SAMPLE), q4k(), aprWriter('never.apr')]
  for (const stage of stages) stage.destroy()

  const source: ByteSource = await openFile(SAMPLE)
  const target = new Uint8Array(4)
  await source.read(target, 0)
  await source.close()
  t.equal(Buffer.from(target).toString('latin1'), 'APR\0')

  const url = pathToFileURL(SAMPLE)
  const options: ReadOptions = { signal: AbortSignal.timeout(60_000) }
  t.equal((await inspect(url, options)).tensors.length, (await inspect(SAMPLE, { signal: undefined })).tensors.length)
  aprReader(url, { recordBytes: undefined }).destroy()
  aprWriter(pathToFileURL('never.apr'), { overwrite: undefined }).destroy()

  const planned: Plan = await plan(SAMPLE)
  const f32: number | undefined = planned.inputDTypes.F32?.tensors
  t.equal(f32, 15)
  const decided: (TensorInfo['dtype'] | undefined)[] = planned.decisions.map(({ outputDType }) => outputDType)
  t.equal(decided.length, 15)

  const report: Promise<QuantizeReport> = quantize('missing.apr', 'never.apr')
  const code = await report.then(
    () => undefined,
    (error: unknown) => (error instanceof AprError ? error.code : 'ENOENT'),
  )
  const expected: AprErrorCode | 'ENOENT' | undefined = code
  t.equal(expected, 'ENOENT')
  const { footer }: { footer: 'good' | 'wrong' | 'none' | 'unchecked' } = await verify(SAMPLE)
  t.equal(footer, 'good')
})
