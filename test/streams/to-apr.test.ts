import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  arrayKv,
  filterTensors,
  ggufReader,
  ggufWriter,
  inspect,
  kv,
  mapMetadata,
  q4k,
  safetensorsReader,
  toApr,
  toGguf,
  verify,
  type Kv,
} from 'apr-stream'
import { MODELS, readModel } from '../helpers/files.js'
import { buildGguf, rawKv } from '../helpers/gguf-file.js'
import { goldenExpected, goldenFolder, goldenModels } from '../helpers/golden-hf.js'
import { sha256 } from '../helpers/hf-folder.js'

const GGUFS = 'test/fixtures/hf/small/gguf'

for (const name of goldenModels()) {
  void test(`${name} becomes by way of APR the GGUF file that it becomes without`, async (t) => {
    const { pre, convert, outtypes } = await goldenExpected(name)
    const dir = t.testdir()
    const apr = join(dir, 'model.apr')
    await pipeline(safetensorsReader(goldenFolder(name)), toApr(), aprWriter(apr))
    t.equal((await verify(apr)).ok, true)
    const { metadata, tensors } = await inspect(apr)
    t.match(metadata, { original_format: 'safetensors', source_folder: name, num_layers: Number, hidden_size: Number })
    t.equal(Array.isArray(metadata['tokenizer.vocabulary']) && metadata['tokenizer.vocabulary'].length > 0, true)
    t.ok(tensors.some((tensor) => tensor.name === 'model.embed_tokens.weight'))

    // Stages on the way change nothing of what decides the file.
    const edited = join(dir, 'edited.apr')
    await pipeline(
      aprReader(apr, { recordBytes: 4096 }),
      mapMetadata(() => ({ note: 'x' })),
      filterTensors(() => true),
      aprWriter(edited),
    )
    for (const input of [apr, edited]) {
      const output = join(dir, 'model.gguf')
      await pipeline(aprReader(input), toGguf({ pre }), ggufWriter(output, { overwrite: true }))
      t.equal(sha256(await fs.readFile(output)), convert.sha256)
    }
    const f32 = join(dir, 'f32.gguf')
    await pipeline(aprReader(apr), toGguf({ pre, outtype: 'f32' }), ggufWriter(f32))
    t.equal(sha256(await fs.readFile(f32)), outtypes.f32.sha256)

    const back = join(dir, 'back.gguf')
    await pipeline(ggufReader(f32), toApr(), aprWriter(join(dir, 'f32.apr')))
    await pipeline(aprReader(join(dir, 'f32.apr')), toGguf(), ggufWriter(back))
    t.equal(sha256(await fs.readFile(back)), outtypes.f32.sha256)
  })
}

void test('GGUF is by way of APR the same file, byte by byte', async (t) => {
  const files = readdirSync(GGUFS).filter((name) => name.includes('convert'))
  t.ok(files.length > 0)
  for (const name of files) await sameByWayOfApr(t, await fs.readFile(join(GGUFS, name)))
})

void test('every dtype that both formats hold, and any number of dimensions, come back as they were', async (t) => {
  const tensors = [
    { name: 'blk.0.z.weight', dtype: 'Q4_K', dims: [512, 3] },
    { name: 'blk.0.a_exps.weight', dtype: 'Q6_K', dims: [256, 3, 5] },
    ...['F32', 'F16', 'BF16', 'F64', 'I8', 'I32', 'I64'].map((dtype) => ({
      name: `token_${dtype}`,
      dtype,
      dims: [7, 3],
    })),
    { name: 'flat', dtype: 'Q4_K', dims: [512] },
    { name: 'deep', dtype: 'F16', dims: [3, 1, 2, 2] },
    { name: 'empty', dtype: 'F32', dims: [0, 4] },
    { name: 'token_embd.weight', dtype: 'F32', dims: [4, 2] },
  ]
  await sameByWayOfApr(t, buildGguf({ tensors, kvs: [kv('general.architecture', 'string', 'x')] }))
})

void test('key-value pairs of every type come back to the bit', async (t) => {
  const numbers = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32'] as const
  const kvs: (Kv | Buffer)[] = [
    ...numbers.flatMap((type) => [kv(`a.${type}`, type, 7), arrayKv(`b.${type}`, type, [1, 2, 3])]),
    ...[0, -0, NaN, Infinity, 0.1, 3e38].map((value, i) => kv(`f32.${i}`, 'f32', value)),
    ...[0, -0, NaN, -Infinity, 0.1, 1e300].map((value, i) => kv(`f64.${i}`, 'f64', value)),
    arrayKv('f32s', 'f32', [1.5, NaN]),
    arrayKv('f64s', 'f64', [0.1, 2]),
    ...[0n, 5n, 2n ** 53n, 2n ** 64n - 1n].map((value, i) => kv(`u64.${i}`, 'u64', value)),
    kv('i64', 'i64', -(2n ** 63n)),
    arrayKv('i64s', 'i64', [-1n, 2n]),
    arrayKv('u64s', 'u64', [1n, 2n ** 60n]),
    kv('yes', 'bool', true),
    arrayKv('bools', 'bool', [true, false]),
    rawKv('two', 7, Buffer.from([2])),
    kv('text', 'string', 'ä "quoted" \\ \u0000 \u{1f600} \u2028'),
    kv('empty', 'string', ''),
    rawKv('bytes', 8, Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([0xff, 0x41, 0xc3])])),
    arrayKv('none', 'string', []),
    arrayKv('texts', 'string', ['', 'b', '\ufeffc']),
    // Keys that objects put elsewhere.
    ...['10', '2', '__proto__', 'constructor', '', ' '].filter((key) => key !== '').map((key) => kv(key, 'u32', 1)),
    kv('general.alignment', 'u32', 64),
    kv('general.architecture', 'string', 'llama'),
    kv('llama.block_count', 'u32', 1),
    arrayKv('llama.attention.head_count', 'u32', [1, 2]),
    arrayKv('tokenizer.ggml.tokens', 'string', ['a', 'b']),
    arrayKv('tokenizer.ggml.scores', 'f32', [0, -0]),
    arrayKv('tokenizer.ggml.token_type', 'i32', [1, 3]),
    arrayKv('tokenizer.ggml.merges', 'u8', [1]),
  ]
  const tensors = [
    { name: 'token_embd.weight', dims: [5, 2] },
    { name: 'b', dims: [3] },
    { name: 'a', dims: [3] },
  ]
  const metadata = await sameByWayOfApr(t, buildGguf({ kvs, tensors, alignment: 64 }))
  t.match(metadata, {
    architecture: 'llama',
    num_layers: 1,
    'tokenizer.vocabulary': ['a', 'b'],
    'tokenizer.token_type': [1, 3],
    'gguf.kv': { 'tokenizer.ggml.tokens': { t: 'custom', custom: 'tokenizer.vocabulary', len: 2 } },
  })
})

void test('tensors of dtypes that APR does not hold are refused, all at once and before there is an output', async (t) => {
  const dtypes = ['Q5_K', 'F32', 'Q8_0', 'Q5_K', 'Q5_K', 'Q5_K', 'Q5_K']
  const tensors = dtypes.map((dtype, i) => ({ name: `blk.${i}.x`, dtype, dims: [256, 2] }))
  const dir = t.testdir({ 'a.gguf': buildGguf({ tensors }) })
  await t.rejects(pipeline(ggufReader(join(dir, 'a.gguf')), toApr(), aprWriter(join(dir, 'b.apr'))), {
    code: 'APR_UNSUPPORTED',
    message: /found Q5_K \(blk\.0\.x, blk\.3\.x, blk\.4\.x and 2 more\); Q8_0 \(blk\.2\.x\)$/,
  })
  t.strictSame(readdirSync(dir), ['a.gguf'])
})

void test('APR stays as it is', async (t) => {
  for (const model of MODELS) {
    const output = join(t.testdir(), 'b.apr')
    await pipeline(aprReader(model), toApr(), aprWriter(output))
    t.strictSame(readModel(output), readModel(model))
  }
})

void test('a safetensors file without a folder becomes APR, its metadata with it', async (t) => {
  const dir = t.testdir()
  const [file, apr] = [join(dir, 'a.safetensors'), join(dir, 'a.apr')]
  await fs.copy(join(goldenFolder('tiny-mistral-v0.3'), 'model.safetensors'), file)
  await pipeline(safetensorsReader(file), toApr(), aprWriter(apr))
  const { metadata } = await inspect(apr)
  t.match(metadata, { model_type: '', source_metadata: { format: 'pt' } })
  await t.rejects(pipeline(aprReader(apr), toGguf(), ggufWriter(join(dir, 'a.gguf'))), { code: 'APR_BAD_METADATA' })
})

void test('GGUF whose tensors were quantized as APR says so', async (t) => {
  const dir = t.testdir()
  const [apr, quantized, output] = [join(dir, 'a.apr'), join(dir, 'q.apr'), join(dir, 'a.gguf')]
  const tensors = [
    { name: 'token_embd.weight', dims: [256, 2] },
    { name: 'blk.0.attn_q.weight', dims: [256, 4] },
  ]
  const kvs = [kv('general.architecture', 'string', 'llama'), kv('general.file_type', 'u32', 0)]
  await fs.writeFile(join(dir, 's.gguf'), buildGguf({ kvs, tensors }))
  await pipeline(ggufReader(join(dir, 's.gguf')), toApr(), aprWriter(apr))
  await pipeline(aprReader(apr), q4k(), aprWriter(quantized))
  await pipeline(aprReader(quantized), toGguf(), ggufWriter(output))
  const { metadata, tensors: written } = await inspect(output)
  t.match(metadata, { 'general.file_type': 14, 'general.quantization_version': 2 })
  t.strictSame(
    written.map(({ name, dtype }) => [name, dtype]),
    [
      ['token_embd.weight', 'F32'],
      ['blk.0.attn_q.weight', 'Q4_K'],
    ],
  )
})

void test('models of which the metadata say too little are refused, with all that they lack', async (t) => {
  const dir = t.testdir()
  const output = join(dir, 'a.gguf')
  for (const model of MODELS) {
    await t.rejects(pipeline(aprReader(model), toGguf(), ggufWriter(output)), {
      code: 'APR_UNSUPPORTED',
      message: /`config`.*the metadata lack (architecture|hidden_size).*pre-tokenizer/,
    })
  }
  t.strictSame(readdirSync(dir), [])
})

/** @returns the metadata of the APR model */
async function sameByWayOfApr(t: Test, file: Buffer): Promise<Readonly<Record<string, unknown>>> {
  const dir = t.testdir({ 'a.gguf': file })
  const [gguf, apr, back] = [join(dir, 'a.gguf'), join(dir, 'a.apr'), join(dir, 'b.gguf')]
  await pipeline(ggufReader(gguf), toApr(), aprWriter(apr))
  t.equal((await verify(apr)).ok, true)
  await pipeline(aprReader(apr), toGguf(), ggufWriter(back))
  t.ok((await fs.readFile(back)).equals(file), 'the same bytes')
  return (await inspect(apr)).metadata
}
