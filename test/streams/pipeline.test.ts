import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import { test } from 'tap'
import {
  aprReader,
  aprWriter,
  q4k,
  quantize,
  selectAsApr,
  verify,
  inspect,
  plan,
  type DType,
  type Fit,
  type Kept,
  type Q4KOptions,
  type QuantizeOptions,
  type TensorInfo,
  type TensorRecord,
} from 'apr-stream'
import { minmaxBlock } from '../../dist/quant/fits/minmax.js'
import { fitQ4K } from '../../dist/quant/fits/affine/super-block.js'
import { cutTensor } from '../../dist/records/cut-tensor.js'
import {
  arbitraryTensor,
  f32Bytes,
  filesIn,
  fixture,
  FLAG_QUANTIZED,
  FLAG_ROW_MAJOR,
  MemorySource,
  modelBytes,
  MODELS,
  parseModel,
  readModel,
  run,
  sameBytes,
  SAMPLE,
  turns,
  valuesOf,
  type StoredModel,
  type StoredTensor,
} from '../helpers/files.js'

const FITS: readonly Fit[] = ['search', 'minmax']
const KEPT: readonly Kept[] = ['auto', 'same', 'f32']
const FLOATS: readonly DType[] = ['F32', 'F16', 'BF16', 'F64', 'APR_Q8', 'APR_Q4']

/** Sizes of records and buffers, from one super-block to more than any file here. */
const SIZES = [
  { recordBytes: 1, highWaterMark: 1, threads: 1 },
  { recordBytes: 600, highWaterMark: 1 << 26, threads: 2 },
  { recordBytes: 1200, highWaterMark: 5000, threads: 3 },
  { recordBytes: 4096, highWaterMark: 4097 },
  { recordBytes: 70_000, highWaterMark: 300_000 },
  { recordBytes: 1 << 20, highWaterMark: 1 },
  { recordBytes: 1 << 26, highWaterMark: 1 << 26 },
]

/** Numbers of worker threads, each with other sizes of records and buffers. */
const THREADS: readonly (readonly [number, QuantizeOptions])[] = [
  [1, { mode: 'stream' }],
  [2, { mode: 'stream', recordBytes: 300_000, highWaterMark: 1 }],
  [3, { mode: 'memory' }],
]

void test('reader, q4k and writer in a pipeline make a quantized model', async (t) => {
  const output = join(t.testdir(), 'model.q4k.apr')
  await pipeline(aprReader(SAMPLE), q4k(), aprWriter(output))

  const source = readModel(SAMPLE)
  sameBytes(t, readFileSync(output), quantizedFile(source, 'search', 'auto', readModel(output).metadata), 'all bytes')
  const { ok, footer, tensors } = await verify(output)
  t.same({ ok, footer, tensors }, { ok: true, footer: 'good', tensors: 15 })
})

void test('streaming and memory write the same bytes, whatever the model, the options and the sizes of records', async (t) => {
  const folder = t.testdir()
  for (const path of MODELS) {
    const source = readModel(path)
    for (const fit of FITS) {
      for (const kept of KEPT) {
        const what = `${basename(path)}, ${fit}, ${kept}`
        const inMemory = join(folder, 'memory.apr')
        await quantize(path, inMemory, { fit, kept, mode: 'memory', overwrite: true })
        const bytes = readFileSync(inMemory)
        sameBytes(t, bytes, quantizedFile(source, fit, kept, parseModel(bytes).metadata), `${what}: memory`)
        for (const sizes of SIZES) {
          const streamed = join(folder, 'streamed.apr')
          await quantize(path, streamed, { fit, kept, mode: 'stream', overwrite: true, ...sizes })
          const found = readFileSync(streamed)
          if (!found.equals(bytes)) sameBytes(t, found, bytes, `${what}: stream, ${JSON.stringify(sizes)}`)
        }
      }
    }
  }
})

void test('with the options of `apr quantize` every tensor is the one that it writes', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const expected = readModel(fixture('silero-vad.apr-quantize.apr'))
  for (const mode of ['stream', 'memory'] as const) {
    await quantize(SAMPLE, output, { fit: 'minmax', kept: 'f32', select: selectAsApr, mode, overwrite: true })
    const found = readModel(output)
    t.same(JSON.parse(found.metadata), JSON.parse(expected.metadata), 'the metadata has the same values')
    // It leaves the quantized flag out.
    const all = modelBytes({ ...expected, metadata: found.metadata, flags: expected.flags | FLAG_QUANTIZED })
    sameBytes(t, readFileSync(output), all, 'and all else the same bytes')
  }
})

void test('a tensor that is kept holds the values of the source, widened to F32 where `kept` says so', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const source = readModel(fixture('every-dtype.apr'))
  const stays: Record<Kept, readonly DType[]> = { auto: ['F32', 'F16'], same: FLOATS, f32: ['F32'] }
  for (const kept of KEPT) {
    await quantize(fixture('every-dtype.apr'), output, { kept, select: () => false, mode: 'stream', overwrite: true })
    const found = readModel(output)
    t.equal(found.metadata, source.metadata, 'metadata is untouched where nothing is quantized')
    t.equal(found.flags, source.flags)
    t.same(names(found), names(source))
    for (const [i, tensor] of source.tensors.entries()) {
      const copy = found.tensors[i]
      const isWidened = FLOATS.includes(tensor.dtype) && !stays[kept].includes(tensor.dtype)
      t.equal(copy?.dtype, isWidened ? 'F32' : tensor.dtype, `${kept}: dtype of ${tensor.name}`)
      t.same(copy?.shape, tensor.shape)
      const expected = isWidened ? f32Bytes(valuesOf(tensor)) : tensor.bytes
      sameBytes(t, copy?.bytes ?? Buffer.of(), expected, `${kept}: bytes of ${tensor.name}`)
    }
  }
})

void test('values that are not finite are kept as they are where a tensor is not quantized', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const bytes = Buffer.from('0000807f000080ff0100c07f00000080', 'hex')
  const halves = Buffer.from('807f80ffc17f0080', 'hex')
  const file = modelBytes({
    tensors: [
      { name: 'a', dtype: 'F32', shape: [4], size: 16, bytes },
      { name: 'b', dtype: 'BF16', shape: [4], size: 8, bytes: halves },
    ],
  })
  await quantize(new MemorySource(file), output, { mode: 'stream' })
  const [a, b] = readModel(output).tensors
  t.equal(Buffer.from(a?.bytes ?? []).toString('hex'), bytes.toString('hex'))
  t.equal(b?.dtype, 'F32')
  t.equal(Buffer.from(b?.bytes ?? []).toString('hex'), '0000807f000080ff0000c17f00000080')
})

void test('a number that is not finite in a tensor to be quantized is an error that tells which', async (t) => {
  const folder = t.testdir()
  const tensor = arbitraryTensor('w', 'F32', [70, 300])
  Buffer.from(tensor.bytes.buffer).writeFloatLE(-Infinity, 4 * (61 * 300 + 299))
  const file = modelBytes({ tensors: [tensor] })
  for (const mode of ['stream', 'memory'] as const) {
    for (const recordBytes of [1, 5000, 1 << 20]) {
      await t.rejects(quantize(new MemorySource(file), join(folder, 'out.apr'), { mode, recordBytes }), {
        code: 'APR_BAD_VALUE',
        tensor: 'w',
        element: 61 * 300 + 299,
        value: -Infinity,
      })
    }
  }
  t.same(filesIn(folder), [], 'nothing is left')
})

void test('metadata changes in the keys that describe the quantization, and in no other byte', async (t) => {
  const folder = t.testdir()
  const quantization = '{"quant_type":"q4_k","bits":4,"block_size":256,"symmetric":false}'
  const cases = [
    {
      before:
        '{ "eps": 1e-06,\n  "theta":1000000.0, "param_count" : 7 , "seed":9007199254740993,"license": null,"a":{"param_count":1}}\n',
      after: `{ "eps": 1e-06,\n  "theta":1000000.0, "param_count" : 512 , "seed":9007199254740993,"license": null,"a":{"param_count":1},"quantization":${quantization},"total_size":0,"original_format":"apr"}\n`,
    },
    {
      before: '{"original_format":"gguf","quantization":null,"total_size":99,"x":"\\u00e9 é"}',
      after: `{"original_format":"gguf","quantization":${quantization},"total_size":0,"x":"\\u00e9 é","param_count":512}`,
    },
    {
      before: '{"original_format":null}',
      after: `{"original_format":"apr","quantization":${quantization},"param_count":512,"total_size":0}`,
    },
    {
      before: '{}',
      after: `{"quantization":${quantization},"param_count":512,"total_size":0,"original_format":"apr"}`,
    },
  ]
  for (const [i, { before, after }] of cases.entries()) {
    const file = modelBytes({ tensors: [arbitraryTensor('w', 'F32', [2, 256])], metadata: before })
    const output = join(folder, `${i}.apr`)
    await pipeline(aprReader(new MemorySource(file)), q4k(), aprWriter(output))
    t.equal(readModel(output).metadata, after)
  }
})

void test('flags, minor version and reserved bytes are carried over; row-major and quantized are set', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const carried = 0xf3d8 & ~FLAG_ROW_MAJOR
  const reserved = Buffer.from(Array.from({ length: 20 }, (_, i) => 0xf0 ^ i))
  const model = { tensors: [arbitraryTensor('w', 'F32', [2, 256])], flags: carried, reserved, minorVersion: 7 }
  const source = modelBytes(model)
  for (const mode of ['stream', 'memory'] as const) {
    await quantize(new MemorySource(source), output, { mode, overwrite: true })
    const found = readModel(output)
    t.equal(found.flags, carried | FLAG_ROW_MAJOR | FLAG_QUANTIZED)
    t.equal(found.minorVersion, 7)
    t.equal(Buffer.from(found.reserved).toString('hex'), reserved.toString('hex'))

    await quantize(new MemorySource(source), output, { mode, overwrite: true, select: () => false })
    t.equal(readModel(output).flags, carried | FLAG_ROW_MAJOR, 'not quantized where nothing was')
  }
})

void test('reader and writer alone copy a canonical file byte for byte', async (t) => {
  const folder = t.testdir()
  for (const path of MODELS) {
    const output = join(folder, basename(path))
    await pipeline(aprReader(path, { recordBytes: 500 }), aprWriter(output))
    sameBytes(t, readFileSync(output), readFileSync(path), basename(path))
  }
})

const dimension = fc.oneof(fc.nat(3), fc.nat(40), fc.nat(700), fc.constantFrom(32, 96, 256, 512))
const shapes = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.nat(9), dimension) },
  { weight: 1, arbitrary: fc.tuple(dimension) },
  { weight: 1, arbitrary: fc.array(fc.nat(9), { maxLength: 4 }) },
)

void test('a tensor is cut into records of whole rows, or of multiples of 256 elements inside a row', (t) => {
  const tensors = fc
    .tuple(fc.constantFrom<DType>(...FLOATS, 'I32', 'I64', 'I8', 'U8', 'Q4_K', 'Q6_K'), shapes, fc.boolean())
    .map(([dtype, shape, isFlat]): TensorInfo => {
      const isKQuant = dtype === 'Q4_K' || dtype === 'Q6_K'
      const { size } = arbitraryTensor('w', dtype, isKQuant && isFlat ? [elementsOf(shape)] : shape)
      return { name: 'w', dtype, shape, size }
    })
  fc.assert(
    fc.property(tensors, fc.integer({ min: 1, max: 6000 }), (tensor, recordBytes) => {
      const pieces = [...cutTensor(tensor, recordBytes)]
      const { rowBytes, leastBytes, headBytes } = grainOf(tensor)
      let position = 0
      for (const piece of pieces) {
        // In order, without gap or overlap, and no larger than asked for, but for the least that a record holds.
        if (piece.offset !== position) return false
        position += piece.size
        if (piece.size > Math.max(recordBytes, leastBytes + headBytes)) return false
        if (piece.size === 0 && tensor.size > 0) return false
        // Whole rows where a row fits.
        const fits = rowBytes !== undefined && rowBytes + headBytes <= recordBytes
        if (fits && (Math.max(headBytes, piece.offset) - headBytes) % rowBytes !== 0) return false
      }
      return position === tensor.size && (pieces.length === 1 || tensor.size > recordBytes)
    }),
    // The last: nothing but a scale, which a record must hold all the same.
    { numRuns: 2000, seed: 1, examples: [[{ name: 'w', dtype: 'APR_Q8', shape: [0, 0], size: 4 }, 1]] },
  )
  t.pass('for every dtype, shape and size of record')
  t.end()
})

void test('records of any size become the same super-blocks as the whole tensor', async (t) => {
  const sizes = fc.oneof(fc.integer({ min: 1, max: 6000 }), fc.constant(1 << 20))
  const cases = fc.tuple(fc.constantFrom(...FLOATS), shapes, fc.constantFrom(...FITS), sizes, sizes)
  await fc.assert(
    fc.asyncProperty(cases, async ([dtype, shape, fit, recordBytes, highWaterMark]) => {
      const tensors = [arbitraryTensor('v', dtype, shape, 2), arbitraryTensor('w', dtype, shape, 3)]
      const source = new MemorySource(modelBytes({ tensors }))
      const reader = aprReader(source, { recordBytes, highWaterMark })
      const found = new Map<string, Buffer>(tensors.map(({ name }) => [name, Buffer.of()]))
      for await (const record of reader.pipe(q4k({ fit, select: () => true }))) {
        const { name, offset, data } = record as TensorRecord
        const before = found.get(name)
        if (before?.length !== offset) return false
        found.set(name, Buffer.concat([before, data]))
      }
      return tensors.every((tensor) => found.get(tensor.name)?.equals(quantizedBytes(tensor, fit)))
    }),
    { numRuns: 300, seed: 1 },
  )
  t.pass('for every float dtype, shape, fit and size of record')
})

void test('no record holds or becomes more than a few MiB, however odd the rows', async (t) => {
  const odd = [
    // Its blocks of 32 end where a row does only every 32 rows.
    { dtype: 'APR_Q4', shape: [64, 70_001] },
    // Rows that are padded to 64 times their size.
    { dtype: 'F32', shape: [100_000, 4] },
    { dtype: 'F16', shape: [300_000, 1] },
  ] as const
  for (const { dtype, shape } of odd) {
    const tensor = arbitraryTensor('w', dtype, shape)
    const recordBytes = 1 << 20
    const reader = aprReader(new MemorySource(modelBytes({ tensors: [tensor] })), { recordBytes })
    let largest = 0
    let done = 0
    let wrong = false
    const parts: Uint8Array[] = []
    const watched = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
      for await (const record of records) {
        largest = Math.max(largest, record.data.length)
        yield record
      }
    }
    const keep = async function (records: AsyncIterable<TensorRecord>): Promise<void> {
      for await (const { offset, data } of records) {
        wrong ||= offset !== done || data.length > 4 << 20
        done += data.length
        parts.push(data.slice())
      }
    }
    await run([reader, watched, q4k({ fit: 'minmax', select: () => true }), keep])
    t.notOk(wrong, 'each at its place, and of at most 4 MiB')
    t.ok(largest <= recordBytes, `${dtype} [${shape.join(', ')}] in records of ${largest} bytes`)
    sameBytes(t, Buffer.concat(parts), quantizedBytes(tensor, 'minmax'), dtype)
  }
})

void test('worker threads write the same bytes, however many they are', async (t) => {
  const folder = t.testdir()
  // 13 million elements: enough for three threads; a tensor alone is not enough for one.
  const large = (['F16', 'BF16', 'F16', 'APR_Q8'] as const).map((dtype, i): StoredTensor => {
    const shape = [3300, 1000]
    const tile = arbitraryTensor('', dtype, [9973], i).bytes
    const size = dtype === 'APR_Q8' ? 4 + 3_300_000 : 6_600_000
    return { name: `${i}.large`, dtype, shape, size, bytes: Buffer.alloc(size, tile) }
  })
  const small = large.map((_, i) => arbitraryTensor(`${i}.small`, 'F32', [3, 300], i))
  const tensors = [...large, ...small, arbitraryTensor('0.kept', 'F64', [500])]
  const alone = await Promise.all(
    tensors.map(async (tensor) => {
      const output = join(folder, `${tensor.name}.apr`)
      await quantize(new MemorySource(modelBytes({ tensors: [tensor] })), output, { mode: 'stream' })
      return readModel(output).tensors[0] ?? tensor
    }),
  )
  const source = modelBytes({ tensors })
  const output = join(folder, 'out.apr')
  for (const [threads, options] of THREADS) {
    await quantize(new MemorySource(source), output, { overwrite: true, threads, ...options })
    const { metadata } = readModel(output)
    const flags = FLAG_ROW_MAJOR | FLAG_QUANTIZED
    sameBytes(t, readFileSync(output), modelBytes({ tensors: alone, metadata, flags }), `${threads} threads`)
  }
})

void test('small tensors that stand side by side share a read, and come as records of their own', async (t) => {
  const tensors = Array.from({ length: 500 }, (_, i) =>
    arbitraryTensor(`t${String(i).padStart(3, '0')}`, 'F32', [i % 40], i),
  )
  const file = modelBytes({ tensors })
  const source = new MemorySource(file)
  const copies: StoredTensor[] = []
  for await (const { name, dtype, shape, size, offset, data } of aprReader(source)) {
    t.equal(offset, 0)
    copies.push({ name, dtype, shape, size, bytes: data.slice() })
  }
  sameBytes(t, modelBytes({ tensors: copies }), file, 'every record holds its tensor')
  t.ok(source.reads.length < 25, `${source.reads.length} reads for ${tensors.length} tensors`)
})

void test('a source may answer its reads late and in any order', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const file = readFileSync(SAMPLE)
  let maxUnderWay = 0
  let underWay = 0
  const source = new MemorySource(file, async (read) => {
    maxUnderWay = Math.max(maxUnderWay, ++underWay)
    // 1, 3, 5, 2, 4 turns: later reads overtake earlier ones.
    await turns(1 + ((2 * read) % 5))
    underWay--
  })
  await pipeline(aprReader(source, { recordBytes: 70_000, highWaterMark: 400_000 }), aprWriter(output))
  sameBytes(t, readFileSync(output), file, 'the copy is exact')
  t.ok(maxUnderWay > 2, 'reads overlap')
  t.equal(source.closed, 1)
})

void test('a read that fails, whichever it is, is the error of the job and leaves nothing behind', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const file = readFileSync(SAMPLE)
  const sizes = { recordBytes: 70_000, highWaterMark: 200_000 }
  const good = new MemorySource(file)
  await run([aprReader(good, sizes), aprWriter(join(folder, 'copy.apr'))])
  const count = good.reads.length
  t.ok(count > 15, `${count} reads`)

  for (let n = 0; n < count; n++) {
    const failure = new Error(`read ${n} fails`)
    const broken = (): MemorySource =>
      new MemorySource(file, (read) => (read === n ? Promise.reject(failure) : turns(1)))
    const jobs: ((source: MemorySource) => Promise<unknown>)[] = [
      (source) => run([aprReader(source, sizes), q4k({ fit: 'minmax' }), aprWriter(output)]),
      (source) => quantize(source, output, { ...sizes, fit: 'minmax', mode: 'stream' }),
      (source) => quantize(source, output, { ...sizes, fit: 'minmax', mode: 'memory' }),
      ...(n < 3 ? [(source: MemorySource) => plan(source), (source: MemorySource) => inspect(source)] : []),
    ]
    for (const job of jobs) {
      const source = broken()
      await t.rejects(job(source), failure)
      t.equal(source.closed, 1, 'the source is closed once')
    }
    t.same(filesIn(folder), ['copy.apr'])
  }
})

void test('a source that throws instead of rejecting is no different', async (t) => {
  const folder = t.testdir()
  const failure = new Error('thrown')
  for (const n of [0, 3]) {
    const source = new MemorySource(readFileSync(SAMPLE), (read) => {
      if (read === n) throw failure
      return undefined
    })
    // An async method turns a throw into a rejection; a plain one does not.
    const throwing = Object.assign(Object.create(source) as MemorySource, {
      read: (target: Uint8Array, position: number) => {
        if (source.reads.length === n) throw failure
        return source.read(target, position)
      },
      close: () => source.close(),
    })
    Object.defineProperty(throwing, 'size', { value: source.size })
    await t.rejects(run([aprReader(throwing), aprWriter(join(folder, 'out.apr'))]), failure)
    t.equal(source.closed, 1)
    t.same(filesIn(folder), [])
  }
})

void test('options that make no sense are refused before anything is opened', async (t) => {
  for (const value of [0, -1, 1.5, NaN, Infinity, '1' as unknown as number]) {
    t.throws(() => aprReader('missing.apr', { recordBytes: value }), { code: 'APR_BAD_OPTION' })
    t.throws(() => aprReader('missing.apr', { highWaterMark: value }), { code: 'APR_BAD_OPTION' })
    t.throws(() => aprWriter('missing.apr', { highWaterMark: value }), { code: 'APR_BAD_OPTION' })
  }
  for (const options of [{ fit: 'best' }, { kept: 'F32' }, { select: 'all' }] as unknown as Q4KOptions[]) {
    t.throws(() => q4k(options), { code: 'APR_BAD_OPTION' })
    await t.rejects(plan('missing.apr', options), { code: 'APR_BAD_OPTION' })
    await t.rejects(quantize('missing.apr', 'out.apr', options), { code: 'APR_BAD_OPTION' })
  }
})

/** What the rule, a fit and `kept` make of a model: the whole file, from the description of the format. */
function quantizedFile(source: StoredModel, fit: Fit, kept: Kept, metadata: string): Buffer {
  const isQuantized = ({ name, dtype, shape }: StoredTensor): boolean =>
    FLOATS.includes(dtype) && shape.length >= 2 && elementsOf(shape) >= 256 && !/bias|norm|scale|embe?d/.test(name)
  const tensors = source.tensors.map((tensor): StoredTensor => {
    const stays =
      !FLOATS.includes(tensor.dtype) || kept === 'same' || (kept === 'auto' && ['F32', 'F16'].includes(tensor.dtype))
    if (isQuantized(tensor)) return { ...tensor, dtype: 'Q4_K', bytes: quantizedBytes(tensor, fit) }
    return stays ? tensor : { ...tensor, dtype: 'F32', bytes: f32Bytes(valuesOf(tensor)) }
  })
  const flags = source.flags | FLAG_ROW_MAJOR | (source.tensors.some(isQuantized) ? FLAG_QUANTIZED : 0)
  return modelBytes({ ...source, tensors, flags, metadata })
}

/** A tensor as Q4_K, in one go: each row of a matrix, or all of another tensor, padded to whole super-blocks. */
function quantizedBytes(tensor: StoredTensor, fit: Fit): Buffer {
  const values = valuesOf(tensor)
  const rowElements = tensor.shape.length === 2 ? (tensor.shape[1] ?? 0) : values.length
  const blocks: Buffer[] = []
  for (let row = 0; row < values.length; row += rowElements) {
    for (let start = 0; start < rowElements; start += 256) {
      const x = new Float32Array(256)
      x.set(values.subarray(row + start, row + Math.min(start + 256, rowElements)))
      const block = Buffer.alloc(144)
      ;(fit === 'search' ? fitQ4K : minmaxBlock)(x, block, 0)
      blocks.push(block)
    }
  }
  return Buffer.concat(blocks)
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** Bytes of a row where rows end with whole blocks, of the least that a record can hold, and of what precedes the values. */
function grainOf({ dtype, shape, size }: TensorInfo): {
  rowBytes: number | undefined
  leastBytes: number
  headBytes: number
} {
  const of = (elements: number): number => arbitraryTensor('w', dtype, [elements]).size - headBytes
  const headBytes = dtype === 'APR_Q8' ? 4 : 0
  const [rows = 0, cols = 0] = shape
  const isCutFlat = shape.length !== 2 || (['Q4_K', 'Q6_K'].includes(dtype) && of(cols) * rows !== size)
  if (isCutFlat || rows * cols === 0) return { rowBytes: undefined, leastBytes: of(256), headBytes }
  if (dtype !== 'APR_Q4') return { rowBytes: of(cols), leastBytes: Math.min(of(cols), of(256)), headBytes }
  // Where blocks of 32 elements run through its rows, it is cut as one row.
  const hasRows = cols % 32 === 0
  return {
    rowBytes: hasRows ? of(cols) : undefined,
    leastBytes: hasRows ? Math.min(of(cols), of(256)) : of(256),
    headBytes,
  }
}

function names({ tensors }: StoredModel): string[] {
  return tensors.map(({ name }) => name)
}
