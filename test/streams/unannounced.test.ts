/** Stages that change what comes and leave the model as it is: the file is the one of the same change announced. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  filterTensors,
  mapMetadata,
  mapTensors,
  q4k,
  type TensorInfo,
  type TensorRecord,
} from 'apr-stream'
import {
  arbitraryTensor,
  FLAG_QUANTIZED,
  MemorySource,
  modelBytes,
  parseModel,
  run,
  sameBytes,
  SAMPLE,
} from '../helpers/files.js'
import { toTransform } from '../../dist/streams/stage.js'

/** A change of a tensor; undefined drops it. */
type Change = (tensor: TensorInfo) => { name?: string; shape?: number[] } | undefined

const METADATA = '{"param_count":66860,"eps":1e-06}'
const TENSORS = [
  arbitraryTensor('a.bias', 'F32', [300]),
  arbitraryTensor('flat', 'F32', [65_536]),
  arbitraryTensor('w.weight', 'BF16', [4, 256]),
]
const MODEL = modelBytes({ tensors: TENSORS, metadata: METADATA })

const CHANGES: Readonly<Record<string, { change: Change; isQuantized: boolean }>> = {
  'drops the only tensor to quantize': {
    change: ({ name }) => (name === 'w.weight' ? undefined : {}),
    isQuantized: false,
  },
  'makes a vector the only matrix': {
    change: ({ name }) => (name === 'flat' ? { shape: [256, 256] } : name === 'a.bias' ? {} : undefined),
    isQuantized: true,
  },
  'makes the only matrix a vector': {
    change: ({ name }) => (name === 'w.weight' ? { shape: [1024] } : {}),
    isQuantized: false,
  },
  'gives the only tensor to quantize a name that is kept': {
    change: ({ name }) => (name === 'w.weight' ? { name: 'norm' } : {}),
    isQuantized: false,
  },
  'drops all but what is quantized': {
    change: ({ name }) => (name === 'w.weight' ? {} : undefined),
    isQuantized: true,
  },
}

for (const [what, { change, isQuantized }] of Object.entries(CHANGES)) {
  void test(`a Transform that ${what} gives the file of the same change announced`, async (t) => {
    const note = (): unknown =>
      mapMetadata(({ param_count: count, quantization, note }) => ({
        note: [note ?? null, count ?? null, quantization ?? null],
      }))
    const before = (stage: unknown): unknown[] => [stage, q4k()]
    const expected = await through(t, ...before(announced(change)))
    const found = await through(t, ...before(unannounced(change)))
    sameBytes(t, found, expected, 'before q4k')
    const { flags, metadata } = parseModel(found)
    t.equal((flags & FLAG_QUANTIZED) !== 0, isQuantized, 'the flag')
    t.equal(metadata.includes('"quantization"'), isQuantized, 'the metadata')

    const orders: Readonly<Record<string, (stage: unknown) => unknown[]>> = {
      'behind q4k': (stage) => [q4k(), stage],
      'between stages that look at metadata': (stage) => [note(), stage, note(), q4k(), note()],
      'behind a stage that looks': (stage) => [q4k(), note(), stage, note()],
      'without q4k': (stage) => [note(), stage, note()],
    }
    // A matrix of Q4_K is cut by its rows: nothing else is to be made of it.
    const isReshape = what.includes('vector')
    for (const [order, stages] of Object.entries(orders)) {
      if (isReshape && order.startsWith('behind')) continue
      sameBytes(
        t,
        await through(t, ...stages(unannounced(change))),
        await through(t, ...stages(announced(change))),
        order,
      )
    }
  })
}

void test('a model that was quantized before keeps its flag and its metadata, whatever is dropped', async (t) => {
  const metadata = '{"quantization":{"quant_type":"q4_k"},"param_count":1324}'
  const tensors = [arbitraryTensor('a.bias', 'F32', [300]), arbitraryTensor('w.weight', 'Q4_K', [4, 256])]
  const file = modelBytes({ tensors, metadata, flags: 0x0400 | FLAG_QUANTIZED })
  const drop = unannounced(({ name }) => (name === 'w.weight' ? undefined : {}))
  const expected = modelBytes({
    tensors: tensors.slice(0, 1),
    metadata: metadata.replace('1324', '300'),
    flags: 0x0400 | FLAG_QUANTIZED,
  })
  sameBytes(t, await through(t, file, drop, q4k()), expected, 'the file')
})

void test('a tensor that a stage of the user quantizes is none that q4k has quantized', async (t) => {
  const quantized = parseModel(await through(t, q4k())).tensors.find(({ name }) => name === 'w.weight')
  const own = new Transform({
    objectMode: true,
    transform(record: TensorRecord, _encoding, done) {
      done(null, record.name === 'w.weight' ? { ...record, ...quantized, data: quantized?.bytes.slice() } : record)
    },
  })
  const tensors = TENSORS.map((tensor) => (tensor.name === 'w.weight' && quantized ? quantized : tensor))
  const expected = modelBytes({ tensors, metadata: METADATA })
  sameBytes(t, await through(t, own, q4k()), expected, 'the file')
})

void test('what a stage was not given before its results were taken counts as it was announced', async (t) => {
  const output = join(t.testdir({}), 'out.apr')
  const stage = q4k()
  for await (const record of aprReader(new MemorySource(MODEL))) {
    stage.write(record)
    break
  }
  const [record] = (await once(stage, 'data')) as [never]
  const writer = aprWriter(output)
  writer.end(record)
  await once(writer, 'close')
  stage.destroy()
  const isFirst = ({ name }: TensorInfo): boolean => name === 'a.bias'
  sameBytes(t, readFileSync(output), await through(t, q4k(), filterTensors(isFirst)), 'the file')
})

void test('a stage that puts a model of its own on the records says all of it', async (t) => {
  const drop = unannounced(({ name }) => (name === 'w.weight' ? undefined : {}))
  const metadata = '{"mine":1,"param_count":0}'
  const own = new Transform({
    objectMode: true,
    transform(record: TensorRecord, _encoding, done) {
      done(null, { ...record, model: { ...record.model, metadata } })
    },
  })
  const tensors = TENSORS.filter(({ name }) => name !== 'w.weight')
  const flags = 0x0400 | FLAG_QUANTIZED
  const expected = modelBytes({ tensors, metadata: metadata.replace(':0', ':65836'), flags })
  sameBytes(t, await through(t, drop, q4k(), own), expected, 'the file')
})

/** Runs a model through stages into a file, and returns the file. */
async function through(t: Test, ...stages: unknown[]): Promise<Buffer> {
  const output = join(t.testdir({}), 'out.apr')
  const file = Buffer.isBuffer(stages[0]) ? stages[0] : MODEL
  const between = stages.filter((stage) => stage !== file).flat()
  await run([aprReader(new MemorySource(file)), ...between, aprWriter(output)])
  return readFileSync(output)
}

/** The stages of the package for it. */
function announced(change: Change): unknown[] {
  return [filterTensors((tensor) => change(tensor) !== undefined), mapTensors((tensor) => change(tensor) ?? {})]
}

function unannounced(change: Change): Transform {
  return new Transform({
    objectMode: true,
    transform(record: TensorRecord, _encoding, done) {
      const changed = change(record)
      if (changed === undefined) done()
      else done(null, { ...record, ...changed })
    },
  })
}

void test('a stage that gives the model back as it was given is a stage like any other', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const same = (): unknown =>
    toTransform({ derive: (model) => model, convert: (record, model) => ({ ...record, model }), needs: () => [] })
  await run([aprReader(SAMPLE), same(), same(), q4k(), same(), aprWriter(output)])
  const found = readFileSync(output)
  await run([aprReader(SAMPLE), q4k(), aprWriter(output, { overwrite: true })])
  sameBytes(t, found, readFileSync(output), 'the file without it')
})
