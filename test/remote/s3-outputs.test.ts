/** Outputs in object storage, on a real server: the bytes of a file, visible whole or not at all, and nothing left behind. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  convert,
  filterTensors,
  ggufWriter,
  inspect,
  mapMetadata,
  plan,
  planConversion,
  quantize,
  safetensorsReader,
  safetensorsWriter,
  toGguf,
  verify,
  type TensorRecord,
} from 'apr-stream'
import { MODELS, run, sameBytes } from '../helpers/files.js'
import { goldenFolder } from '../helpers/golden-hf.js'
import { result, start } from '../helpers/command.js'
import { writeBigModel } from '../helpers/s3-models.js'
import { startS3, type S3Server } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

const skip = notThere('versitygw')
const MOE = goldenFolder('golden-qwen3moe-4x64')
const PRE = { pre: 'qwen2' }

const at = (s3: S3Server, key: string): string => `s3://${s3.bucket}/${key}`

/** Of an output that is not there nothing is left. */
async function nothingLeft(t: Test, s3: S3Server, keys: readonly string[] = []): Promise<void> {
  t.same(s3.keys(), keys)
  t.same(await s3.openUploads(), [])
}

/** The records of a file, each with memory of its own. */
async function recordsOf(path: string, recordBytes: number): Promise<TensorRecord[]> {
  const records: TensorRecord[] = []
  for await (const record of aprReader(path, { recordBytes }) as AsyncIterable<TensorRecord>) {
    records.push({ ...record, data: record.data.slice() })
  }
  return records
}

void test('every writer makes the object that it makes as a file', { skip }, async (t) => {
  const s3 = await startS3(t)
  const folder = t.testdir()
  for (const model of [...MODELS, writeBigModel(folder)]) {
    const file = join(folder, 'out.apr')
    await run([aprReader(model), aprWriter(file, { overwrite: true })])
    await run([aprReader(model), aprWriter(at(s3, 'a/out.apr'), { overwrite: true })])
    sameBytes(t, s3.object('a/out.apr') ?? Buffer.alloc(0), readFileSync(file), model)
    await verify(at(s3, 'a/out.apr'))
  }
  const apr = join(folder, 'moe.apr')
  await convert(MOE, apr)
  for (const name of ['out.gguf', 'out.safetensors']) {
    const file = join(folder, name)
    await convert(MOE, file, PRE)
    await convert(MOE, at(s3, name), PRE)
    sameBytes(t, s3.object(name) ?? Buffer.alloc(0), readFileSync(file), name)
  }
  const gguf = join(folder, 'stages.gguf')
  await run([aprReader(apr), toGguf(PRE), ggufWriter(gguf)])
  await run([aprReader(apr), toGguf(PRE), ggufWriter(new URL(at(s3, 'stages.gguf')))])
  const shard = join(folder, 'out.safetensors')
  await run([safetensorsReader(shard), safetensorsWriter(at(s3, 'copy.safetensors'))])
  sameBytes(t, s3.object('copy.safetensors') ?? Buffer.alloc(0), readFileSync(shard), 'safetensors by stages')
  sameBytes(t, s3.object('stages.gguf') ?? Buffer.alloc(0), readFileSync(gguf), 'stages')
  await nothingLeft(t, s3, ['a/out.apr', 'copy.safetensors', 'out.gguf', 'out.safetensors', 'stages.gguf'])
})

void test('records come in any order, also where far more blocks are begun than fit in memory', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir(), 120)
  const records = await recordsOf(model, 128 * 1024)
  // The first record of each tensor, then the second of each, and so on.
  const order = records
    .map((record, i) => ({ record, i }))
    .sort((a, b) => b.record.offset - a.record.offset || a.i - b.i)
  async function* scattered(): AsyncGenerator<TensorRecord> {
    for (const { record } of order) {
      t.equal(s3.keys().length, 0)
      yield await Promise.resolve(record)
    }
  }
  await run([scattered, aprWriter(at(s3, 'out.apr'))])
  sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(model), 'scattered')
  await nothingLeft(t, s3, ['out.apr'])
})

void test(
  'stages that change the model are no matter; tensors that vanish unannounced are told',
  { skip },
  async (t) => {
    const s3 = await startS3(t)
    const folder = t.testdir()
    const model = writeBigModel(folder)
    const file = join(folder, 'out.apr')
    const stages = (): unknown[] => [
      aprReader(model),
      filterTensors(({ name }) => !name.endsWith('.norm')),
      mapMetadata(() => ({ changed: 'yes' })),
    ]
    await run([...stages(), aprWriter(file)])
    await run([...stages(), aprWriter(at(s3, 'out.apr'))])
    sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(file), 'stages of ours')
    async function* dropping(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
      for await (const record of records) if (record.name !== 'layer.3.norm') yield record
    }
    const wrong = run([aprReader(model), dropping, aprWriter(at(s3, 'dropped.apr'))])
    await t.rejects(wrong, { code: 'APR_BAD_RECORD', message: /filterTensors.*s3:\/\/models\/dropped\.apr/ })
    async function* growing(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
      for await (const record of records) {
        if (record.name === 'layer.3.norm')
          yield { ...record, name: 'another', shape: [64], size: 128, data: record.data.slice(0, 128) }
        else yield record
      }
    }
    const grown = run([aprReader(model), growing, aprWriter(at(s3, 'dropped.apr'))])
    await t.rejects(grown, { code: 'APR_BAD_RECORD', message: /s3:\/\/models\/dropped\.apr/ })
    await nothingLeft(t, s3, ['out.apr'])
  },
)

void test('jobs write objects, with plans and reports that name them', { skip }, async (t) => {
  const s3 = await startS3(t)
  const folder = t.testdir()
  const model = writeBigModel(folder)
  const file = join(folder, 'out.apr')
  const wanted = await quantize(model, file)
  const planned = await plan(model, { output: at(s3, 'q.apr') })
  t.equal(planned.freeBytes, undefined)
  const report = await quantize(model, at(s3, 'q.apr'), { mode: 'stream' })
  t.equal(report.output, at(s3, 'q.apr'))
  t.equal(report.outputBytes, planned.outputBytes)
  t.same(report.files, [{ name: 'q.apr', bytes: wanted.outputBytes }])
  sameBytes(t, s3.object('q.apr') ?? Buffer.alloc(0), readFileSync(file), 'streamed')
  await quantize(model, at(s3, 'm.apr'), { mode: 'memory' })
  sameBytes(t, s3.object('m.apr') ?? Buffer.alloc(0), readFileSync(file), 'in memory')

  const gguf = join(folder, 'out.gguf')
  await quantize(MOE, gguf, { recipe: 'Q4_K_M', ...PRE })
  t.equal((await planConversion(MOE, { output: at(s3, 'x.gguf'), ...PRE })).outputFormat, 'gguf')
  await quantize(MOE, at(s3, 'out.gguf'), { recipe: 'Q4_K_M', ...PRE })
  sameBytes(t, s3.object('out.gguf') ?? Buffer.alloc(0), readFileSync(gguf), 'a recipe')
  // From object storage to object storage.
  await convert(at(s3, 'q.apr'), at(s3, 'copy.apr'))
  sameBytes(t, s3.object('copy.apr') ?? Buffer.alloc(0), readFileSync(file), 'there and back')
  t.equal((await inspect(at(s3, 'copy.apr'))).tensors.length, report.tensors)
  await nothingLeft(t, s3, ['copy.apr', 'm.apr', 'out.gguf', 'q.apr'])
})

void test('an object that is there is not replaced unasked, whenever it came', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir())
  const put = (): Promise<unknown> =>
    s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: 'out.apr', Body: 'another' }))
  await put()
  await t.rejects(convert(model, at(s3, 'out.apr')), { code: 'APR_EXISTS', file: at(s3, 'out.apr') })
  t.equal(s3.object('out.apr')?.toString(), 'another')
  await convert(model, at(s3, 'out.apr'), { overwrite: true })
  sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(model), 'replaced')

  let isPut: Promise<unknown> | undefined
  async function* meanwhile(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      await (isPut ??= s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: 'late.apr', Body: 'another' })))
      yield record
    }
  }
  const late = run([aprReader(model), meanwhile, aprWriter(at(s3, 'late.apr'))])
  await t.rejects(late, { code: 'APR_EXISTS' })
  t.equal(s3.object('late.apr')?.toString(), 'another')
  await nothingLeft(t, s3, ['late.apr', 'out.apr'])
})

void test('what fails or is ended leaves nothing', { skip }, async (t) => {
  const s3 = await startS3(t)
  const folder = t.testdir()
  const model = writeBigModel(folder)
  const controller = new AbortController()
  const ended = convert(model, at(s3, 'out.apr'), {
    signal: controller.signal,
    onProgress: ({ bytes }) => bytes > 2e7 && controller.abort(new Error('enough')),
  })
  await t.rejects(ended, { name: 'AbortError' })
  await nothingLeft(t, s3)
  const damaged = readFileSync(model)
  damaged[damaged.length - 100] = (damaged[damaged.length - 100] ?? 0) ^ 1
  writeFileSync(join(folder, 'damaged.apr'), damaged)
  await t.rejects(convert(join(folder, 'damaged.apr'), at(s3, 'out.apr')), { code: 'APR_BAD_CRC' })
  await nothingLeft(t, s3)
})

void test('a store that crashes in the midst and comes back has all of it in the end', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir())
  let isKilled: Promise<void> | undefined
  const job = convert(model, at(s3, 'out.apr'), {
    onProgress: ({ bytes }) => {
      if (bytes > 1.5e7)
        isKilled ??= s3
          .kill()
          .then(() => sleep(400))
          .then(() => s3.restart())
    },
  })
  await job
  await isKilled
  t.ok(isKilled)
  sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(model), 'after a crash')
  await nothingLeft(t, s3, ['out.apr'])
})

/** A process that converts, slowly enough to be killed in the midst. */
function slowJob(model: string, output: string, options: object, ending = ''): ChildProcess {
  const program = `
    import { convert } from 'apr-stream'
    const pause = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 15)
    const report = await convert(${JSON.stringify(model)}, ${JSON.stringify(output)}, {
      ...${JSON.stringify(options)},
      onProgress({ bytes }) { pause(); ${ending} },
    })
    console.log(JSON.stringify(report))`
  const env = { ...process.env, NODE_OPTIONS: '' }
  return spawn(process.execPath, ['--input-type=module', '--eval', program], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

void test('a killed process leaves what the next one goes on with', { skip }, async (t) => {
  const s3 = await startS3(t)
  const folder = t.testdir()
  const model = writeBigModel(folder, 100)
  const job = slowJob(model, at(s3, 'out.apr'), { resume: true, recordBytes: 256 * 1024 })
  // Notes are written every five seconds.
  await sleep(7500)
  t.equal(job.exitCode, null)
  job.kill('SIGKILL')
  await once(job, 'exit')
  t.same(s3.keys(), ['out.apr.partial.journal'])
  t.same(await s3.openUploads(), ['out.apr'])
  // Another job takes the output: what the first one left is no use for it.
  const other = await convert(MODELS[0] ?? '', at(s3, 'other.apr'), { resume: true })
  t.equal(other.resumedTensors, 0)
  const report = await convert(model, at(s3, 'out.apr'), { resume: true, recordBytes: 256 * 1024 })
  t.ok(report.resumedTensors > 5, String(report.resumedTensors))
  t.equal(report.restartReason, undefined)
  sameBytes(t, s3.object('out.apr') ?? Buffer.alloc(0), readFileSync(model), 'gone on with')
  await nothingLeft(t, s3, ['other.apr', 'out.apr'])
})

void test('what an earlier run of another job has left is removed', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir())
  const controller = new AbortController()
  const broken = convert(model, at(s3, 'out.apr'), {
    resume: true,
    signal: controller.signal,
    onProgress: ({ bytes }) => {
      if (bytes > 3e7) controller.abort()
    },
  })
  await t.rejects(broken, { name: 'AbortError' })
  t.same(await s3.openUploads(), ['out.apr'])
  const report = await convert(MODELS[0] ?? '', at(s3, 'out.apr'), { resume: true })
  t.equal(report.restartReason, 'the input, the options or the version are not those of the upload')
  await nothingLeft(t, s3, ['out.apr'])
})

void test('a process that exits or is ended by a signal leaves no upload', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = writeBigModel(t.testdir(), 80)
  const exiting = slowJob(model, at(s3, 'out.apr'), {}, 'if (bytes > 3e7) process.exit(3)')
  t.same(await once(exiting, 'exit'), [3, null])
  await nothingLeft(t, s3)
  const command = start(['convert', model, '-o', at(s3, 'out.apr'), '--json'])
  while ((await s3.openUploads()).length === 0 && command.exitCode === null) await sleep(10)
  command.kill('SIGTERM')
  const { code } = await result(command)
  t.ok(code === 143 || code === 0, String(code))
  await nothingLeft(t, s3, code === 0 ? ['out.apr'] : [])
})

void test('the command line takes an object as output', { skip }, async (t) => {
  const s3 = await startS3(t)
  const model = MODELS[0] ?? ''
  const done = await result(start(['quantize', model, '-o', at(s3, 'out.apr'), '--json']))
  t.equal(done.code, 0, done.stderr)
  t.equal((JSON.parse(done.stdout) as { output: string }).output, at(s3, 'out.apr'))
  const again = await result(start(['quantize', model, '-o', at(s3, 'out.apr')]))
  t.equal(again.code, 1)
  t.match(again.stderr, /--force.*s3:\/\/models\/out\.apr/)
  t.notMatch(again.stderr, /testtest/)
})

void test('what can be no output is refused', async (t) => {
  const model = MODELS[0] ?? ''
  for (const [output, message] of [
    ['https://example.com/x.apr?token=secret', /s3:\/\/bucket\/key, found https:\/\/example\.com\/x\.apr$/],
    ['hf://org/model/x.apr', /found hf:/],
    ['s3://bucket', /folder/],
    ['s3://bucket/folder/', /folder/],
    ['s3://key:secret@bucket/x.apr', /without user/],
  ] as const) {
    const refused = { code: 'APR_BAD_OPTION', message }
    await t.rejects(quantize(model, output), refused, output)
    await t.rejects(convert(model, output), refused, output)
    await t.rejects(plan(model, { output }), refused, output)
    t.throws(() => aprWriter(output), refused, output)
  }
  await t.rejects(convert('s3://b/x.apr', 's3://b/x.apr', { overwrite: true }), { code: 'APR_SAME_FILE' })
})

void test('a model of several files is refused', { skip }, async (t) => {
  const s3 = await startS3(t)
  const split = convert(MOE, at(s3, 'out.gguf'), { splitMaxBytes: 100_000, ...PRE })
  await t.rejects(split, { code: 'APR_UNSUPPORTED', message: /one file/ })
  await nothingLeft(t, s3)
})
