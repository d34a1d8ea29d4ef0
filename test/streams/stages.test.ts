import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  filterTensors,
  mapMetadata,
  mapTensors,
  q4k,
  quantize,
  type AprModel,
  type TensorInfo,
  type TensorRecord,
} from 'apr-stream'
import {
  arbitraryTensor,
  filesIn,
  MemorySource,
  modelBytes,
  parseModel,
  readModel,
  run,
  sameBytes,
  SAMPLE,
  turns,
  type StoredModel,
  type StoredTensor,
} from '../helpers/files.js'

const METADATA = '{"name":"m", "param_count" : 3056,"eps":1e-06,"seed":9007199254740993}'

/** Five tensors; the matrices are several records each. */
const TENSORS: readonly StoredTensor[] = [
  arbitraryTensor('a.bias', 'F32', [300], 1),
  arbitraryTensor('b.weight', 'F32', [4, 300], 2),
  arbitraryTensor('c.weight', 'F16', [4, 256], 3),
  arbitraryTensor('d.weight', 'BF16', [2, 256], 4),
  arbitraryTensor('e.ids', 'I32', [20], 5),
]
const MODEL = modelBytes({ tensors: TENSORS, metadata: METADATA })
const RECORD_BYTES = 1200

const withCount = (count: number): string => METADATA.replace('3056', String(count))
const isRecord = (value: unknown): value is TensorRecord => typeof value === 'object' && value !== null

/** Runs the model through stages into a file, and returns the file. */
async function through(t: Test, ...stages: unknown[]): Promise<Buffer> {
  const output = join(t.testdir(), 'out.apr')
  await run([reader(), ...stages, aprWriter(output)])
  return readFileSync(output)
}

/** What `quantize` makes of a whole file in memory. */
async function quantized(t: Test, file: Buffer): Promise<Buffer> {
  const output = join(t.testdir(), 'whole.apr')
  await quantize(new MemorySource(file), output, { mode: 'memory' })
  return readFileSync(output)
}

function reader(): ReturnType<typeof aprReader> {
  return aprReader(new MemorySource(MODEL), { recordBytes: RECORD_BYTES, highWaterMark: 4000 })
}

/** A plain object-mode Transform of Node that passes what `change` returns. */
function plain(change: (record: TensorRecord) => unknown[]): Transform {
  return new Transform({
    objectMode: true,
    transform(record: TensorRecord, _encoding, done) {
      for (const value of change(record)) this.push(value)
      done()
    },
  })
}

type Expected =
  Error | RegExp | { code: string; tensor?: string } | { message: string } | { name: string; tensor: string }

/** Asserts that a pipeline fails with this error, and leaves no file and no open source. */
async function fails(t: Test, stages: (source: MemorySource) => unknown[], expected: Expected): Promise<void> {
  const folder = t.testdir()
  const source = new MemorySource(MODEL)
  await t.rejects(run([...stages(source), aprWriter(join(folder, 'out.apr'))]), expected)
  t.equal(source.closed, 1, 'the source is closed')
  t.same(filesIn(folder), [], 'nothing is left')
}

void test('filterTensors drops tensors from the data, the index and the count of parameters', async (t) => {
  const keep = ({ name }: TensorInfo): boolean => name !== 'b.weight'
  const expected = modelBytes({ tensors: TENSORS.filter(keep), metadata: withCount(1856) })
  sameBytes(t, await through(t, filterTensors(keep)), expected, 'the file')
  sameBytes(t, await through(t, filterTensors(keep), q4k()), await quantized(t, expected), 'before quantization')
  sameBytes(t, await through(t, q4k(), filterTensors(keep)), await quantized(t, expected), 'behind quantization')
})

void test('a filter that drops every tensor makes no file', async (t) => {
  await fails(t, (source) => [aprReader(source), filterTensors(() => false)], { code: 'APR_BAD_RECORD' })
})

void test('mapTensors renames tensors, and the index and the data are in the order of the new names', async (t) => {
  const names: Record<string, string> = { 'a.bias': 'z.\u{1f600}', 'b.weight': 'z.\uff5e', 'e.ids': '' }
  const rename = ({ name }: TensorInfo): { name: string } => ({ name: names[name] ?? name })
  const tensors = TENSORS.map((tensor) => ({ ...tensor, ...rename(tensor) }))
  const expected = modelBytes({ tensors, metadata: METADATA })
  t.same(
    parseModel(expected).tensors.map(({ name }) => name),
    ['', 'c.weight', 'd.weight', 'z.\uff5e', 'z.\u{1f600}'],
  )
  sameBytes(t, await through(t, mapTensors(rename)), expected, 'the file')
  sameBytes(t, await through(t, mapTensors(rename), q4k()), await quantized(t, expected), 'before quantization')
  sameBytes(t, await through(t, q4k(), mapTensors(rename)), await quantized(t, expected), 'behind quantization')
})

void test('mapTensors reads the same bytes as another shape or dtype', async (t) => {
  const change = ({ name }: TensorInfo): Partial<TensorInfo> =>
    name === 'b.weight' ? { shape: [2, 3, 200] } : name === 'a.bias' ? { dtype: 'I32' } : {}
  const tensors = TENSORS.map((tensor) => ({ ...tensor, ...change(tensor) }))
  const expected = modelBytes({ tensors, metadata: METADATA })
  sameBytes(t, await through(t, mapTensors(change)), expected, 'the file')
})

void test('mapTensors refuses a change that does not fit the bytes', async (t) => {
  const changes: Partial<TensorInfo>[] = [
    { shape: [4, 299] },
    { shape: [] },
    { dtype: 'F16' },
    { dtype: 'I8', shape: [4801] },
    { dtype: 'F33' as TensorInfo['dtype'] },
  ]
  for (const change of changes) {
    const map = mapTensors(({ name }) => (name === 'b.weight' ? change : {}))
    const message = /^expected a change that keeps the tensor's 4800 bytes, found .*tensor "b\.weight"/
    await fails(t, (source) => [aprReader(source), map], message)
  }
})

void test('mapTensors refuses two tensors of one name, and names that the format cannot hold', async (t) => {
  const rename = (name: string): unknown => mapTensors((tensor) => (tensor.name === 'b.weight' ? { name } : {}))
  await fails(t, (source) => [aprReader(source), rename('c.weight')], { code: 'APR_BAD_INDEX', tensor: 'c.weight' })
  await fails(t, (source) => [aprReader(source), rename('c.weight'), q4k()], { name: 'AprError', tensor: 'c.weight' })
  await fails(t, (source) => [aprReader(source), rename('é'.repeat(129))], { code: 'APR_LIMIT' })
  await fails(t, (source) => [aprReader(source), rename('\ud800')], { code: 'APR_BAD_RECORD' })
})

void test('mapMetadata sets and removes keys, and leaves every other byte as it is', async (t) => {
  const seen: unknown[] = []
  const stage = mapMetadata((metadata) => {
    seen.push(metadata['name'])
    return { name: undefined, license: 'MIT', seed: [1, { x: null }] }
  })
  const metadata = '{"param_count" : 3056,"eps":1e-06,"seed":[1,{"x":null}],"license":"MIT"}'
  sameBytes(t, await through(t, stage), modelBytes({ tensors: TENSORS, metadata }), 'the file')
  t.same(seen, ['m'], 'the change is asked for once')
})

void test('stages that change metadata see what those before them have made of it', async (t) => {
  const seen: unknown[] = []
  const look = (): unknown =>
    mapMetadata((metadata) => {
      seen.push([metadata['param_count'], metadata['quantization']])
      return {}
    })
  await through(
    t,
    look(),
    filterTensors(({ name }) => name !== 'b.weight'),
    look(),
    q4k(),
    look(),
  )
  t.same(seen, [
    [3056, undefined],
    [1856, undefined],
    [1856, { quant_type: 'q4_k', bits: 4, block_size: 256, symmetric: false }],
  ])
})

/** Stages of plain Node that change what comes, and do not tell the model. */
const CHANGES: { what: string; change: (record: TensorRecord) => unknown[]; tensors: StoredTensor[] }[] = [
  {
    what: 'drops a tensor',
    change: (record) => (record.name === 'a.bias' ? [] : [record]),
    tensors: TENSORS.filter(({ name }) => name !== 'a.bias'),
  },
  {
    what: 'drops the last tensor',
    change: (record) => (record.name === 'e.ids' ? [] : [record]),
    tensors: TENSORS.filter(({ name }) => name !== 'e.ids'),
  },
  {
    what: 'renames a tensor',
    change: (record) => [record.name === 'b.weight' ? { ...record, name: 'zz.weight' } : record],
    tensors: TENSORS.map((tensor) => (tensor.name === 'b.weight' ? { ...tensor, name: 'zz.weight' } : tensor)),
  },
  {
    what: 'renames every tensor to the name of another',
    change: (record) => [{ ...record, name: swapped(record.name) }],
    tensors: TENSORS.map((tensor) => ({ ...tensor, name: swapped(tensor.name) })),
  },
  {
    what: 'reshapes a tensor',
    change: (record) => [record.name === 'c.weight' ? { ...record, shape: [2, 512] } : record],
    tensors: TENSORS.map((tensor) => (tensor.name === 'c.weight' ? { ...tensor, shape: [2, 512] } : tensor)),
  },
  {
    what: 'splits a tensor by rows',
    change: (record) => (record.name === 'b.weight' ? [row(record)] : [record]),
    tensors: TENSORS.flatMap((tensor) =>
      tensor.name === 'b.weight'
        ? [0, 1, 2, 3].map((i) => ({
            ...tensor,
            name: `b.${i}`,
            shape: [1, 300],
            bytes: tensor.bytes.subarray(i * 1200, (i + 1) * 1200),
          }))
        : [tensor],
    ),
  },
  {
    what: 'duplicates a tensor',
    change: (record) =>
      record.name === 'b.weight' ? [{ ...record, name: 'b.copy', data: record.data.slice() }, record] : [record],
    tensors: TENSORS.flatMap((tensor) =>
      tensor.name === 'b.weight' ? [tensor, { ...tensor, name: 'b.copy' }] : [tensor],
    ),
  },
  {
    what: 'replaces the values',
    change: (record) => {
      if (record.name !== 'd.weight') return [record]
      const size = 2 * record.size
      return [
        { ...record, dtype: 'F32', size, offset: 2 * record.offset, data: new Uint8Array(2 * record.data.length) },
      ]
    },
    tensors: TENSORS.map((tensor) =>
      tensor.name === 'd.weight' ? { ...tensor, dtype: 'F32', bytes: new Uint8Array(2048) } : tensor,
    ),
  },
  {
    what: 'cuts records into smaller ones',
    change: (record) => {
      const middle = Math.floor(record.data.length / 2)
      if (record.name !== 'e.ids') return [record]
      return [
        { ...record, data: record.data.subarray(0, middle) },
        { ...record, offset: record.offset + middle, data: record.data.subarray(middle) },
      ]
    },
    tensors: [...TENSORS],
  },
]

for (const { what, change, tensors } of CHANGES) {
  void test(`a Transform or generator that ${what} gives the file that such a model makes`, async (t) => {
    const parameters = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    const expected = modelBytes({ tensors, metadata: withCount(parameters) })
    sameBytes(t, await through(t, plain(change)), expected, 'Transform')
    sameBytes(t, await through(t, generator(change)), expected, 'async generator')
    sameBytes(t, await through(t, plain(change), q4k()), await quantized(t, expected), 'Transform before q4k')
    sameBytes(t, await through(t, generator(change), q4k()), await quantized(t, expected), 'generator before q4k')
  })
}

void test('a generator that holds records back and sorts the tensors otherwise changes nothing', async (t) => {
  const backwards = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    const all: TensorRecord[] = []
    for await (const record of records) all.push({ ...record, data: record.data.slice() })
    for (const { name } of TENSORS.toReversed()) yield* all.filter((record) => record.name === name)
  }
  sameBytes(t, await through(t, backwards), MODEL, 'backwards')
  sameBytes(t, await through(t, backwards, q4k()), await quantized(t, MODEL), 'backwards before q4k')

  const mixed = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    const all: TensorRecord[] = []
    for await (const record of records) all.push({ ...record, data: record.data.slice() })
    yield* all.sort((a, b) => a.offset - b.offset)
  }
  sameBytes(t, await through(t, mixed), MODEL, 'records of several tensors by turns')
  sameBytes(t, await through(t, mixed, q4k()), await quantized(t, MODEL), 'by turns before q4k')
})

void test('a stage may change the metadata of the model on the way', async (t) => {
  const metadata = '{"a longer text than before, which moves the data":"' + 'x'.repeat(200) + '"}'
  let changed: AprModel | undefined
  let count = 0
  const late = plain((record) => {
    if (record.model.format === 'apr') changed ??= Object.freeze({ ...record.model, metadata })
    return [count++ < 3 || !changed ? record : { ...record, model: changed }]
  })
  sameBytes(t, await through(t, late), modelBytes({ tensors: TENSORS, metadata }), 'what came last counts')
})

void test('a tensor that arrives only in part is an error', async (t) => {
  for (const missing of [0, 1, 3]) {
    // Rows of 1200 bytes, 288 as Q4_K.
    const drop = (rowBytes: number): Transform =>
      plain((record) => (record.name === 'b.weight' && record.offset === missing * rowBytes ? [] : [record]))
    const small = { recordBytes: RECORD_BYTES }
    const expected = { code: 'APR_BAD_RECORD', tensor: 'b.weight' }
    await fails(t, (source) => [aprReader(source, small), drop(1200)], expected)
    await fails(t, (source) => [aprReader(source, small), drop(1200), q4k()], expected)
    await fails(t, (source) => [aprReader(source, small), q4k(), drop(288)], expected)
  }
})

void test('records of one tensor that are doubled, missing, too long or of another kind are an error', async (t) => {
  const isSecond = ({ name, offset }: TensorRecord): boolean => name === 'b.weight' && offset === 1200
  const copy = (record: TensorRecord): TensorRecord => ({ ...record, data: record.data.slice() })
  const changes: Record<string, (record: TensorRecord) => unknown[]> = {
    missing: (record) => (isSecond(record) ? [] : [record]),
    doubled: (record) => (isSecond(record) ? [copy(record), record] : [record]),
    'too long': (record) =>
      record.name === 'b.weight' && record.offset === 3600 ? [{ ...record, data: new Uint8Array(1204) }] : [record],
    'of another dtype': (record) => [isSecond(record) ? { ...record, dtype: 'I32' } : record],
    'of another shape': (record) => [isSecond(record) ? { ...record, shape: [300, 4] } : record],
    'of another size': (record) => [isSecond(record) ? { ...record, size: 4801 } : record],
    'of an impossible size': (record) => [record.name === 'b.weight' ? { ...record, size: 4804 } : record],
    'of an impossible shape': (record) => [record.name === 'b.weight' ? { ...record, shape: [4, -300] } : record],
  }
  for (const [what, change] of Object.entries(changes)) {
    t.comment(what)
    const small = { recordBytes: RECORD_BYTES }
    const expected = { code: 'APR_BAD_RECORD', tensor: 'b.weight' }
    await fails(t, (source) => [aprReader(source, small), plain(change)], expected)
  }
})

void test('records may be cut anywhere between blocks of their dtype', async (t) => {
  const expected = await through(t, q4k())
  for (const places of [[2], [510], [512, 514, 516], [100, 1022, 1024, 2000]]) {
    const output = join(t.testdir(), 'out.apr')
    await run([aprReader(new MemorySource(MODEL)), cutAt(0, ...places, 2048), q4k(), aprWriter(output)])
    sameBytes(t, readFileSync(output), expected, `cut at ${places.join()}`)
  }
})

void test('q4k refuses records with a gap inside a super-block, and such as end inside an element', async (t) => {
  const refused = { code: 'APR_BAD_RECORD', tensor: 'c.weight' }
  const gap = plain((record) => (record.name === 'c.weight' && record.offset === 510 ? [] : [record]))
  await fails(t, (source) => [aprReader(source), cutAt(0, 510, 514, 2048), gap, q4k()], refused)
  await fails(t, (source) => [aprReader(source), cutAt(2, 2048), q4k()], refused)
  await fails(t, (source) => [aprReader(source), cutAt(0, 511, 2048), q4k()], refused)
  await fails(t, (source) => [aprReader(source), cutAt(0, 510), q4k()], refused)
})

/** Cuts c.weight, which is one record of 2,048 bytes, at these places. */
function cutAt(...places: number[]): Transform {
  return plain((record) => {
    if (record.name !== 'c.weight') return [record]
    return places.slice(1).map((end, i) => {
      const offset = places[i] ?? 0
      return { ...record, offset, data: record.data.slice(offset, end) }
    })
  })
}

void test('what is no tensor record is refused by every stage, and crashes none', async (t) => {
  const values: unknown[] = [
    'text',
    '',
    0,
    1,
    true,
    false,
    undefined,
    Symbol('x'),
    Buffer.from('bytes'),
    new Uint8Array(0),
    [],
    {},
    () => undefined,
    { name: 'x' },
    { name: 'x', data: 'text', model: {} },
  ]
  await refused(t, values)
})

void test('a tensor record without one of its fields, or with one of another type, is refused by every stage', async (t) => {
  const record = await firstRecord()
  const values: unknown[] = [
    { ...record, name: 1 },
    { ...record, name: undefined },
    { ...record, data: [1, 2] },
    { ...record, data: new DataView(new ArrayBuffer(8)) },
    { ...record, model: undefined },
    { ...record, model: null },
    { ...record, model: {} },
    { ...record, shape: undefined },
    { ...record, shape: 'text' },
    { ...record, dtype: undefined },
    { ...record, dtype: 'F33' },
    { ...record, size: undefined },
    { ...record, size: '4' },
    { ...record, offset: undefined },
    { ...record, offset: '0' },
    { ...record, offset: -1 },
    { ...record, offset: NaN },
  ]
  await refused(t, values)
})

void test('a stage that keeps the bytes of a record and looks later never sees those of another', async (t) => {
  const tensors = Array.from({ length: 40 }, (_, i) => arbitraryTensor(`t${i}.weight`, 'F32', [40 + (i % 3), 512], i))
  const file = modelBytes({ tensors })
  const output = join(t.testdir(), 'out.apr')
  await quantize(new MemorySource(file), output, { mode: 'memory' })
  const bytesOf = (model: StoredModel): Map<string, Uint8Array> =>
    new Map(model.tensors.map((tensor) => [tensor.name, tensor.bytes]))
  const before = bytesOf(parseModel(file))
  const after = bytesOf(readModel(output))
  for (const stages of [[], [q4k()]]) {
    const kept: { name: string; offset: number; data: Uint8Array }[] = []
    // Empty once the memory was handed on; else the bytes of its own tensor, or what they have become.
    const isOwn = ({ name, offset, data }: (typeof kept)[number]): boolean => {
      const source = before.get(name)?.subarray(offset, offset + data.length)
      const result = after.get(name)?.subarray((offset / 1024) * 144)
      const resultBytes = (data.length / 1024) * 144
      return (
        data.length === 0 ||
        source?.every((byte, i) => byte === data[i]) === true ||
        result?.subarray(0, resultBytes).every((byte, i) => byte === data[i]) === true
      )
    }
    const check = (): boolean => kept.every(isOwn)
    const keep = plain((record) => {
      const { name, offset, data } = record
      kept.push({ name, offset, data })
      return [record]
    })
    const look = plain((record) => {
      if (!check()) t.fail(`a kept record changed to another's bytes before ${record.name}`)
      return [record]
    })
    const sizes = { recordBytes: 20_480, highWaterMark: 100_000 }
    await run([aprReader(new MemorySource(file), sizes), keep, ...stages, look, aprWriter(output, { overwrite: true })])
    t.ok(check(), 'at the end')
    t.ok(kept.length >= 160, `${kept.length} records were kept`)
  }
})

void test('a record that is passed on twice without a copy is right both times, or an error', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const twice = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      yield record
      yield { ...record, name: 'x.weight' }
    }
  }
  for (const dtype of ['APR_Q8', 'F32'] as const) {
    const source = modelBytes({ tensors: [arbitraryTensor('w.weight', dtype, [400, 512])] })
    for (const stages of [[twice], [twice, q4k()]]) {
      const all = [aprReader(new MemorySource(source)), ...stages, aprWriter(output, { overwrite: true })]
      const error = await run(all).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      if (error !== undefined) {
        t.match(error, { name: 'AprError', code: 'APR_BAD_RECORD' })
        continue
      }
      const [first, second] = readModel(output).tensors
      sameBytes(t, second?.bytes ?? Buffer.of(), first?.bytes ?? Buffer.of(), 'both are the same')
    }
  }
})

void test('an error that a callback throws ends the job and leaves nothing', async (t) => {
  const failure = new Error('thrown by the user')
  const raise = (): never => {
    throw failure
  }
  const late = (): ((tensor: TensorInfo) => never | true) => {
    let calls = 0
    return () => (++calls > 7 ? raise() : true)
  }
  const cases: Record<string, () => unknown[]> = {
    'filterTensors at once': () => [filterTensors(raise)],
    'filterTensors later': () => [filterTensors(late())],
    mapTensors: () => [mapTensors(raise)],
    mapMetadata: () => [mapMetadata(raise)],
    'select of q4k': () => [q4k({ select: raise })],
    'a Transform that throws': () => [
      new Transform({
        objectMode: true,
        transform: (_record, _encoding, done) => done(failure),
      }),
    ],
    'a Transform that fails in its flush': () => [
      new Transform({
        objectMode: true,
        transform: (record, _encoding, done) => done(null, record),
        flush: (done) => done(failure),
      }),
    ],
    'an async Transform': () => [
      new Transform({
        objectMode: true,
        transform(_record, _encoding, done) {
          setImmediate(() => done(failure))
        },
      }),
    ],
    'a generator': () => [
      async function* (records: AsyncIterable<TensorRecord>) {
        let count = 0
        for await (const record of records) {
          if (count++ === 2) raise()
          yield record
        }
      },
    ],
    'a generator at its end': () => [
      async function* (records: AsyncIterable<TensorRecord>) {
        yield* records
        raise()
      },
    ],
  }
  for (const [what, stages] of Object.entries(cases)) {
    t.comment(what)
    await fails(t, (source) => [aprReader(source, { recordBytes: 600 }), ...stages()], failure)
    await fails(t, (source) => [aprReader(source, { recordBytes: 600 }), ...stages(), q4k()], failure)
  }

  const folder = t.testdir()
  for (const mode of ['stream', 'memory'] as const) {
    for (const options of [{ onProgress: raise }, { select: raise }]) {
      const source = new MemorySource(MODEL)
      await t.rejects(quantize(source, join(folder, 'out.apr'), { mode, ...options }), failure)
      t.equal(source.closed, 1)
      t.same(filesIn(folder), [])
    }
  }
})

void test('what is thrown is an error even where it is none', async (t) => {
  const raise = (): never => {
    // eslint-disable-next-line @typescript-eslint/only-throw-error
    throw 'a text'
  }
  await fails(t, (source) => [aprReader(source), filterTensors(raise)], { message: 'a text' })
})

void test('for await gives the records, and an early break closes the source', async (t) => {
  for (const last of [0, 1, 5]) {
    const source = new MemorySource(readFileSync(SAMPLE))
    let count = 0
    for await (const record of aprReader(source, { recordBytes: 1000, highWaterMark: 300_000 })) {
      t.equal(record.model.tensors.length, 15)
      if (count++ === last) break
    }
    t.equal(source.closed, 1)
  }
  for await (const { name } of aprReader(SAMPLE)) if (name === 'conv2.weight') break
  t.same(openHandles(SAMPLE), [], 'no handle on the file is left')

  const failure = new Error('in the loop')
  const source = new MemorySource(MODEL)
  await t.rejects(async () => {
    for await (const record of aprReader(source)) if (record.offset === 0) throw failure
  }, failure)
  t.equal(source.closed, 1)
})

void test('a stream that is destroyed before it has begun leaves nothing', async (t) => {
  const folder = t.testdir()
  const source = new MemorySource(MODEL)
  const streams = [aprReader(source), q4k(), aprWriter(join(folder, 'out.apr'))]
  await Promise.all(
    streams.map(async (stream) => {
      const closed = once(stream as NodeJS.WritableStream, 'close')
      stream.destroy()
      await closed
    }),
  )
  t.same(filesIn(folder), [])
})

void test('stages are joined by pipe as well', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const writer = reader().pipe(q4k()).pipe(aprWriter(output))
  await once(writer, 'close')
  sameBytes(t, readFileSync(output), await quantized(t, MODEL), 'the file')
})

void test('records flow into a plain Writable of Node, and out of a plain generator', async (t) => {
  const records: TensorRecord[] = []
  const sink = new Writable({
    objectMode: true,
    write(record: TensorRecord, _encoding, done) {
      records.push(record)
      done()
    },
  })
  await pipeline(reader(), sink)
  const tensors = TENSORS.map((tensor) => ({
    ...tensor,
    bytes: Buffer.concat(records.filter(({ name }) => name === tensor.name).map(({ data }) => data)),
  }))
  sameBytes(t, modelBytes({ tensors, metadata: METADATA }), MODEL, 'all bytes have come')

  const output = join(t.testdir(), 'out.apr')
  await pipeline(function* () {
    yield* records
  }, aprWriter(output))
  sameBytes(t, readFileSync(output), MODEL, 'and go')
})

void test('a signal that is aborted, before or while the job runs, ends it and leaves nothing', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  await t.rejects(run([reader(), q4k(), aprWriter(output)], { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.same(filesIn(folder), [])
  await t.rejects(quantize(SAMPLE, output, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.same(filesIn(folder), [])

  for (const mode of ['stream', 'memory'] as const) {
    for (const at of [1, 10, 20]) {
      const controller = new AbortController()
      const source = new MemorySource(readFileSync(SAMPLE), () => turns(1))
      let count = 0
      const onProgress = (): void => {
        if (++count === at) controller.abort()
      }
      const options = { mode, onProgress, signal: controller.signal, recordBytes: 40_000, highWaterMark: 100_000 }
      await t.rejects(quantize(source, output, options), { name: 'AbortError' })
      t.equal(source.closed, 1)
      t.same(filesIn(folder), [])
    }
  }
})

void test('a signal that is aborted with the last record leaves the whole file or nothing', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const whole = await quantized(t, MODEL)
  for (const mode of ['stream', 'memory'] as const) {
    for (const delay of [0, 1, 2, 4, 8, 16, 32]) {
      const controller = new AbortController()
      const onProgress = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }): void => {
        if (bytes === totalBytes) void turns(delay).then(() => controller.abort())
      }
      const options = { mode, onProgress, signal: controller.signal, overwrite: true }
      const done = await quantize(new MemorySource(MODEL), output, options).then(
        () => true,
        (error: unknown) =>
          error instanceof Error && error.name === 'AbortError' ? false : Promise.reject(error as Error),
      )
      if (done) t.ok(readFileSync(output).equals(whole))
      t.same(
        filesIn(folder).filter((name) => name !== 'out.apr' && name !== 'whole.apr'),
        [],
      )
    }
  }
  const controller = new AbortController()
  await quantize(new MemorySource(MODEL), output, { signal: controller.signal, overwrite: true })
  controller.abort()
  t.ok(existsSync(output), 'an abort after the end changes nothing')
})

void test('highWaterMark bounds what is read ahead of a sink that does not take it', async (t) => {
  const tensors = Array.from({ length: 30 }, (_, i) => arbitraryTensor(`t${i}`, 'U8', [1000, 512], i))
  const file = modelBytes({ tensors })
  for (const highWaterMark of [1, 500_000, 2_000_000]) {
    for (const between of [[], [plain((record) => [record])], [filterTensors(() => true), q4k()]]) {
      const recordBytes = 102_400
      const source = new MemorySource(file)
      let taken = 0
      const stalled = new Writable({
        objectMode: true,
        highWaterMark: 1,
        write(record: TensorRecord, _encoding, done) {
          taken += record.data.length
          if (taken < 1_024_000) done()
        },
      })
      const controller = new AbortController()
      const stages = [aprReader(source, { recordBytes, highWaterMark }), ...between, stalled]
      const job = run(stages, { signal: controller.signal })
      await turns(300)
      const ahead = source.bytesRead - taken
      // Two small queues stand between two stages; Node's own Transform holds 16 records on each side.
      const queued = 3 * (1 + between.length) * recordBytes + (between.length === 1 ? 32 * recordBytes : 0)
      const bound = Math.max(highWaterMark, recordBytes) + queued
      t.ok(taken >= 1_024_000, 'the sink has stalled')
      t.ok(ahead <= bound, `${ahead} bytes are ahead, at most ${bound}`)
      if (highWaterMark > 1_000_000) t.ok(ahead >= highWaterMark / 2, 'a large mark reads ahead')
      controller.abort()
      await t.rejects(job, { name: 'AbortError' })
      t.equal(source.closed, 1)
    }
  }
})

/** Asserts that every stage refuses these values in the place of the first record. */
async function refused(t: Test, values: readonly unknown[]): Promise<void> {
  const stages = {
    filterTensors: () => filterTensors(() => true),
    mapTensors: () => mapTensors(() => ({})),
    mapMetadata: () => mapMetadata(() => ({})),
    q4k: () => q4k(),
    aprWriter: undefined,
  }
  for (const value of values) {
    for (const [name, stage] of Object.entries(stages)) {
      let isFirst = true
      const broken = new Transform({
        objectMode: true,
        transform(passed: unknown, _encoding, done) {
          if (isFirst) this.push(value)
          isFirst = false
          done(null, passed)
        },
      })
      t.comment(`${name}: ${describe(value)}`)
      await fails(t, (source) => [aprReader(source), broken, ...(stage ? [stage()] : [])], { code: 'APR_BAD_RECORD' })
    }
  }
}

function swapped(name: string): string {
  const names = TENSORS.map((tensor) => tensor.name)
  return names[(names.indexOf(name) + 1) % names.length] ?? name
}

/** The record of one row as a tensor of its own. */
function row(record: TensorRecord): TensorRecord {
  return { ...record, name: `b.${record.offset / 1200}`, shape: [1, 300], size: 1200, offset: 0 }
}

function generator(change: (record: TensorRecord) => unknown[]) {
  return async function* (records: AsyncIterable<TensorRecord>) {
    for await (const record of records) yield* change(record)
  }
}

async function firstRecord(): Promise<TensorRecord> {
  for await (const record of aprReader(new MemorySource(MODEL))) return { ...record, name: 'new' }
  throw new Error('no record')
}

function describe(value: unknown): string {
  return isRecord(value) ? JSON.stringify({ ...value, model: typeof value.model, data: undefined }) : typeof value
}

/** Open handles of this process on a file; Linux tells. */
function openHandles(path: string): string[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`) === path
    } catch {
      return false
    }
  })
}
