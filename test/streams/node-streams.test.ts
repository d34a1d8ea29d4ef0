/** The stages wherever Node takes a stream of its own: as users write it, so that it compiles as well. */
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import stream, { addAbortSignal, Duplex, PassThrough, Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  filterTensors,
  mapMetadata,
  mapTensors,
  openFile,
  q4k,
  type TensorRecord,
} from 'apr-stream'
import { MemorySource, run, sameBytes, SAMPLE } from '../helpers/files.js'

// Node's types do not know it before Node 24.
const { compose } = stream as unknown as { compose: (...streams: unknown[]) => Duplex }

/** The sample, quantized by a plain pipeline. */
async function expected(t: Test): Promise<Buffer> {
  const output = join(t.testdir(), 'expected.apr')
  await run([aprReader(SAMPLE), q4k(), aprWriter(output)])
  return readFileSync(output)
}

void test('stages compose, and go into pipelines of any length and form', async (t) => {
  const whole = await expected(t)
  const folder = t.testdir()
  const all = (): boolean => true
  const jobs: Record<string, (output: string) => Promise<unknown>> = {
    'compose of reader and stage': (output) => pipeline(compose(aprReader(SAMPLE), q4k()), aprWriter(output)),
    'compose of stage and writer': (output) => pipeline(aprReader(SAMPLE), compose(q4k(), aprWriter(output))),
    'compose of stages': (output) => pipeline(aprReader(SAMPLE), compose(filterTensors(all), q4k()), aprWriter(output)),
    'an array': (output) => pipeline([aprReader(SAMPLE), q4k(), aprWriter(output)]),
    'nine stages': (output) =>
      pipeline(
        aprReader(SAMPLE),
        filterTensors(all),
        filterTensors(all),
        mapTensors(() => ({})),
        mapMetadata(() => undefined),
        new PassThrough({ objectMode: true }),
        q4k(),
        filterTensors(all),
        aprWriter(output),
      ),
    'nine stages in an array': (output) =>
      pipeline([
        ...[aprReader(SAMPLE), filterTensors(all), filterTensors(all), filterTensors(all), filterTensors(all)],
        ...[filterTensors(all), q4k(), filterTensors(all), aprWriter(output)],
      ]),
    'Readable.from': (output) => pipeline(Readable.from(aprReader(SAMPLE)), q4k(), aprWriter(output)),
    'helpers of Readable': (output) =>
      pipeline(
        aprReader(SAMPLE)
          .filter(({ size }: TensorRecord) => size >= 0)
          .map((record: TensorRecord) => ({ ...record })),
        q4k(),
        aprWriter(output),
      ),
    'web streams': async (output) => {
      const { readable, writable } = Duplex.toWeb(q4k())
      await Promise.all([
        Readable.toWeb(aprReader(SAMPLE)).pipeTo(writable),
        readable.pipeTo(Writable.toWeb(aprWriter(output))),
      ])
    },
    'the callback of pipeline': (output) =>
      new Promise<void>((resolve, reject) => {
        stream.pipeline(aprReader(SAMPLE), q4k(), aprWriter(output), (error) => (error ? reject(error) : resolve()))
      }),
    'pipe, and write with a callback': async (output) => {
      const writer = aprWriter(output)
      for await (const record of aprReader(SAMPLE).pipe(q4k()) as AsyncIterable<TensorRecord>) {
        await new Promise<void>((resolve, reject) => {
          writer.write(record, (error) => (error ? reject(error) : resolve()))
        })
      }
      writer.end()
      await finished(writer)
    },
  }
  for (const [name, job] of Object.entries(jobs)) {
    const output = join(folder, `${name}.apr`)
    await job(output)
    sameBytes(t, readFileSync(output), whole, name)
  }
})

void test('stages are streams of Node', async (t) => {
  const reader = aprReader(SAMPLE)
  const stage = q4k()
  const writer = aprWriter('never.apr')
  t.ok(reader instanceof Readable && stage instanceof Duplex && writer instanceof Writable)
  t.same(
    [reader.readableObjectMode, stage.readableObjectMode, stage.writableObjectMode, writer.writableObjectMode],
    [true, true, true, true],
  )
  const records = (await reader.toArray()) as TensorRecord[]
  t.equal(records.length, 15)
  await finished(reader)
  for (const stream of [stage, writer]) {
    stream.destroy()
    t.ok(stream.destroyed)
    await once(stream, 'close')
  }
})

void test('a loop that ends, a signal and await using close what they hold', async (t) => {
  const bytes = readFileSync(SAMPLE)
  const source = new MemorySource(bytes)
  const composed = compose(aprReader(source), q4k())
  for await (const record of composed) {
    t.ok(record)
    break
  }
  t.ok(composed.destroyed)

  const controller = new AbortController()
  const aborted = new MemorySource(bytes)
  const reader = addAbortSignal(controller.signal, aprReader(aborted))
  controller.abort('enough')
  await t.rejects(finished(reader), { name: 'AbortError', cause: 'enough' })
  t.equal(aborted.closed, 1)

  const used = new MemorySource(bytes)
  {
    await using disposed = aprReader(used)
    for await (const { name } of disposed.iterator({ destroyOnReturn: false })) {
      t.type(name, 'string')
      break
    }
  }
  t.equal(used.closed, 1)
  {
    await using file = await openFile(SAMPLE)
    await file.read(new Uint8Array(4), 0)
  }
})

void test('a writer answers a write behind its end as a Writable of Node does', async (t) => {
  const writer = aprWriter(join(t.testdir(), 'out.apr'))
  for await (const record of aprReader(SAMPLE)) writer.write(record)
  writer.end()
  const failed = once(writer, 'error')
  writer.write({})
  t.match((await failed)[0], { code: 'ERR_STREAM_WRITE_AFTER_END' })
})
