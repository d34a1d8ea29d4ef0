import { join } from 'node:path'
import { Transform, Writable } from 'node:stream'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  filterTensors,
  mapMetadata,
  mapTensors,
  q4k,
  type AprModel,
  type TensorInfo,
  type TensorRecord,
} from 'apr-stream'
import { Output } from '../../dist/files/output/output.js'
import { findPlace } from '../../dist/files/output/output-place.js'
import { writeWhole } from '../../dist/jobs/write-in-memory.js'
import { arbitraryTensor, filesIn, MemorySource, modelBytes, run, type StoredTensor } from '../helpers/files.js'

const TWICE = { code: 'APR_BAD_INDEX', tensor: 'x', message: /^expected every tensor name once, found one twice/ }

/** Pairs that are to get one name. */
const PAIRS: Readonly<Record<string, readonly [StoredTensor, StoredTensor]>> = {
  'without elements': [arbitraryTensor('a', 'F32', [0, 4]), arbitraryTensor('b', 'F32', [0, 4])],
  'of one shape': [arbitraryTensor('a', 'F32', [8, 256], 1), arbitraryTensor('b', 'F32', [8, 256], 2)],
  'of two shapes': [arbitraryTensor('a', 'F32', [8, 256]), arbitraryTensor('b', 'F32', [4, 256])],
  'of two dtypes': [arbitraryTensor('a', 'BF16', [8, 256]), arbitraryTensor('b', 'U8', [4])],
}
const OTHERS = [arbitraryTensor('0', 'U8', [3]), arbitraryTensor('c', 'F16', [4, 256])]

/** Every stage, with a sink that takes what it is given: whatever is refused, the stage refuses it. */
const STAGES: Readonly<Record<string, (path: string) => unknown[]>> = {
  filterTensors: () => [filterTensors(() => true), sink()],
  mapTensors: () => [mapTensors(() => ({})), sink()],
  mapMetadata: () => [mapMetadata(() => ({})), sink()],
  q4k: () => [q4k(), sink()],
  aprWriter: (path) => [aprWriter(path)],
}

for (const [what, pair] of Object.entries(PAIRS)) {
  const file = modelBytes({ tensors: [...OTHERS, ...pair] })
  const reader = (): unknown => aprReader(new MemorySource(file), { recordBytes: 2048 })

  void test(`mapTensors refuses to give two tensors ${what} one name`, async (t) => {
    for (const behind of [[], [q4k()], [filterTensors(() => true)]]) {
      await t.rejects(run([reader(), mapTensors(renamed), ...behind, sink()]), TWICE)
    }
  })

  void test(`every stage refuses a model that names two tensors ${what} alike`, async (t) => {
    const model: AprModel = Object.freeze({
      tensors: [...OTHERS, ...pair].map((tensor) => ({ ...tensor, ...renamed(tensor) })),
      metadata: '{}',
      flags: 0x0400,
      format: 'apr' as const,
      minorVersion: 0,
      reserved: new Uint8Array(20),
    })
    await refused(t, () => [reader(), changed((record) => [{ ...record, model }])])
  })

  void test(`every stage refuses two tensors ${what} that arrive under one name, announced or not`, async (t) => {
    await refused(t, () => [reader(), changed((record) => [{ ...record, ...renamed(record) }])])
    const byTurns = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
      const all: TensorRecord[] = []
      for await (const record of records) all.push({ ...record, ...renamed(record), data: record.data.slice() })
      yield* all.sort((a, b) => a.offset - b.offset)
    }
    await refused(t, () => [reader(), byTurns])
  })

  void test(`a file that is written from memory has no two tensors ${what} of one name`, async (t) => {
    const records: TensorRecord[] = []
    for await (const record of reader() as AsyncIterable<TensorRecord>) {
      records.push({ ...record, ...renamed(record), data: record.data.slice() })
    }
    const folder = t.testdir({})
    const output = await Output.create(await findPlace(join(folder, 'out.apr')), [{ name: 'out.apr' }], {
      overwrite: false,
    })
    await t.rejects(writeWhole(output, records, undefined), TWICE)
    await output.discard()
    t.same(filesIn(folder), [])
  })
}

async function refused(t: Test, source: () => unknown[]): Promise<void> {
  for (const [name, stages] of Object.entries(STAGES)) {
    const folder = t.testdir({})
    await t.rejects(run([...source(), ...stages(join(folder, 'out.apr'))]), TWICE, name)
    t.same(filesIn(folder), [], 'nothing is left')
  }
}

function renamed({ name }: TensorInfo): { name: string } {
  return { name: name === 'a' || name === 'b' ? 'x' : name }
}

function changed(change: (record: TensorRecord) => unknown[]): Transform {
  return new Transform({
    objectMode: true,
    transform(record: TensorRecord, _encoding, done) {
      for (const value of change(record)) this.push(value)
      done()
    },
  })
}

function sink(): Writable {
  return new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
}
