/** GGUF from APR models that hold less than ours do: as `apr import` makes them. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fs from 'fs-extra'
import { test } from 'tap'
import {
  aprReader,
  aprWriter,
  ggufReader,
  ggufWriter,
  inspect,
  mapMetadata,
  safetensorsReader,
  toApr,
  toGguf,
} from 'apr-stream'
import { modelBytes, readModel, type StoredTensor } from '../helpers/files.js'
import { goldenExpected, goldenFolder } from '../helpers/golden-hf.js'
import { sha256 } from '../helpers/hf-folder.js'

const OWN_KEYS = { source_files: undefined, source_order: undefined, source_folder: undefined, 'gguf.kv': undefined }

type Fields = Record<string, unknown>

/** As `apr import` makes it: without the files or the KVs, a tied embedding copied. */
async function imported(
  dir: string,
  name: string,
  from: 'safetensors' | 'gguf',
  changes: Fields = {},
): Promise<string> {
  const [plain, output] = [join(dir, 'plain.apr'), join(dir, 'imported.apr')]
  const folder = goldenFolder(name)
  if (from === 'safetensors') {
    await pipeline(
      safetensorsReader(folder),
      toApr(),
      mapMetadata(() => ({ ...OWN_KEYS, ...changes })),
      aprWriter(plain),
    )
  } else {
    const { pre } = await goldenExpected(name)
    const gguf = join(dir, 'source.gguf')
    await pipeline(safetensorsReader(folder), toGguf({ pre }), ggufWriter(gguf))
    await pipeline(
      ggufReader(gguf),
      toApr(),
      mapMetadata(() => ({ ...OWN_KEYS, ...changes })),
      aprWriter(plain),
    )
  }
  const model = readModel(plain)
  const names = ['model.embed_tokens.weight', 'token_embd.weight']
  const hasHead = model.tensors.some((tensor) => /^(lm_head|output)\.weight$/.test(tensor.name))
  const copy = model.tensors
    .filter((tensor) => !hasHead && names.includes(tensor.name))
    .map((tensor): StoredTensor => ({ ...tensor, name: 'lm_head.weight' }))
  await fs.writeFile(output, modelBytes({ ...model, tensors: [...model.tensors, ...copy] }))
  return output
}

void test('a folder given as `config` tells what the metadata lack; a copied embedding is left out', async (t) => {
  const cases: [string, Fields][] = [
    // One whose config.json says that it is tied, one where only the import does, one with a projection of its own.
    ['tiny-mistral-v0.3', {}],
    ['Golden-Qwen2.5-0.9M-Instruct', { tied_embeddings: true }],
    ['mixtral-eight', {}],
    ['qwen3moe-stacked', {}],
  ]
  for (const [name, changes] of cases) {
    const dir = t.testdir()
    const { pre, convert } = await goldenExpected(name)
    const input = await imported(dir, name, 'safetensors', changes)
    const output = join(dir, 'a.gguf')
    await pipeline(aprReader(input), toGguf({ pre, config: goldenFolder(name) }), ggufWriter(output))
    const { tensors, metadata } = await inspect(output)
    const byName = (list: readonly { name: string }[]): string[] => list.map((tensor) => tensor.name).sort()
    t.strictSame(byName(tensors), byName(convert.tensors), name)
    t.equal(metadata['general.name'], convert.kv.find(({ key }) => key === 'general.name')?.value)
    const isOneFile = !readdirSync(goldenFolder(name)).includes('model.safetensors.index.json')
    if (isOneFile) t.equal(sha256(await fs.readFile(output)), convert.sha256, name)
  }
})

void test('without files and without `config` such a model is refused, and no output begun', async (t) => {
  const dir = t.testdir()
  const dense = await imported(dir, 'tiny-mistral-v0.3', 'safetensors')
  await t.rejects(pipeline(aprReader(dense), toGguf(), ggufWriter(join(dir, 'a.gguf'))), {
    code: 'APR_UNSUPPORTED',
    message: /the metadata lack the scaling of rotary embeddings, the types of tokens, the pre-tokenizer$/,
  })
  await fs.remove(join(dir, 'plain.apr'))
  const experts = await imported(dir, 'mixtral-eight', 'safetensors', { num_experts_per_tok: null })
  await t.rejects(pipeline(aprReader(experts), toGguf(), ggufWriter(join(dir, 'a.gguf'))), /lack num_experts_per_tok, /)
  t.equal(await fs.pathExists(join(dir, 'a.gguf')), false)
})

void test('a dense model with the names of GGUF is told by its metadata, pair by pair as its source', async (t) => {
  for (const name of ['Golden-Qwen2.5-0.9M-Instruct', 'golden-qwen3-f16']) {
    const dir = t.testdir()
    const input = await imported(dir, name, 'gguf')
    const output = join(dir, 'a.gguf')
    await pipeline(aprReader(input), toGguf(), ggufWriter(output))
    const [source, made] = [await inspect(join(dir, 'source.gguf')), await inspect(output)]
    // Written always, with the value that is the default otherwise.
    const extra = ['attention.key_length', 'attention.value_length'].map(
      (key) => `${String(source.metadata['general.architecture'])}.${key}`,
    )
    for (const [key, value] of Object.entries(made.metadata)) {
      if (extra.includes(key) && source.metadata[key] === undefined) continue
      t.strictSame(value, source.metadata[key], key)
      t.equal(made.metadataTypes?.[key], source.metadataTypes?.[key], key)
    }
    t.match(made.metadata, { 'tokenizer.ggml.token_type': Array, 'tokenizer.ggml.merges': Array })
    const names = (tensors: readonly { name: string }[]): string[] => tensors.map((tensor) => tensor.name).sort()
    t.strictSame(names(made.tensors), names(source.tensors))
  }
})

void test('a mixture of experts, another architecture, or a tokenizer without types of tokens is refused', async (t) => {
  const cases: [string, Fields, RegExp][] = [
    ['golden-qwen3moe-4x64', {}, /one of the architectures .* found a mixture of experts$/],
    ['golden-qwen3-f16', { architecture: 'gemma3' }, /llama, qwen2, qwen3, found gemma3$/],
    ['golden-qwen3-f16', { architecture: null }, /found none$/],
    ['golden-qwen3-f16', { 'tokenizer.token_type': undefined, rope_theta: undefined }, /found none of rope_theta, tokenizer\.token_type$/], // prettier-ignore
    ['golden-qwen3-f16', { 'tokenizer.vocabulary': ['a'] }, /found none of tokenizer\.vocabulary$/],
    ['golden-qwen3-f16', { num_heads: 7 }, /heads that divide/],
  ]
  for (const [name, changes, message] of cases) {
    const dir = t.testdir()
    const input = await imported(dir, name, 'gguf', changes)
    const written = pipeline(aprReader(input), toGguf(), ggufWriter(join(dir, 'a.gguf')))
    await t.rejects(written, { code: 'APR_UNSUPPORTED', message })
    t.equal(await fs.pathExists(join(dir, 'a.gguf')), false)
  }
})

void test('KVs, files and orders in the metadata that are none are refused, or do no harm', async (t) => {
  const text = (v: unknown): Fields => ({ 'gguf.kv': { x: v } })
  const bad: Fields[] = [
    text(null),
    text({ t: 'u32', v: 'a' }),
    text({ t: 'u32', v: 1.5 }),
    text({ t: 'arr_u32', v: 5 }),
    text({ t: 'arr_arr_u32', v: [] }),
    text({ t: 'array', v: [] }),
    text({ t: 'str', v: 5 }),
    text({ t: 'custom', custom: 'tokenizer.vocabulary', len: 1 }),
    text({ t: 'raw', type: 'u32', v: 'AAA=' }),
    text({ t: 'raw', type: 'string', v: 'BQAAAAAAAAA=' }),
    text({ t: 'raw', type: 'array', v: 'AAAAAAUAAAAAAAAA' }),
    text({ t: 'raw', type: 'none', v: 'AAAA' }),
    text({ t: 'raw', type: 'u32', v: '?' }),
    { 'gguf.kv': { 'tokenizer.ggml.tokens': { t: 'custom', custom: 'tokenizer.vocabulary', len: 1 } } },
    { 'gguf.kv': { 'tokenizer.ggml.tokens': { t: 'custom', custom: 'name', len: 1 } } },
  ]
  const dir = t.testdir()
  const plain = await imported(dir, 'golden-qwen3-f16', 'gguf')
  const output = join(dir, 'a.gguf')
  for (const changes of bad) {
    const written = pipeline(aprReader(plain), mapMetadata(() => changes), toGguf(), ggufWriter(output)) // prettier-ignore
    await t.rejects(written, { code: 'APR_BAD_METADATA' }, JSON.stringify(changes))
  }
  for (const source_order of [[], [0], 'x', [0, 0], Array(60).fill(1e15)]) {
    await pipeline(aprReader(plain), mapMetadata(() => ({ source_order })), toGguf(), ggufWriter(output, { overwrite: true })) // prettier-ignore
  }
})

void test('files in the metadata that are none are refused', async (t) => {
  const dir = t.testdir()
  const plain = await imported(dir, 'tiny-mistral-v0.3', 'safetensors')
  for (const source_files of [5, { 'config.json': 5 }, { 'config.json': { base64: '?' } }, { 'config.json': '{' }]) {
    const written = pipeline(aprReader(plain), mapMetadata(() => ({ source_files })), toGguf(), ggufWriter(join(dir, 'a.gguf'))) // prettier-ignore
    await t.rejects(written, { code: 'APR_BAD_METADATA' }, JSON.stringify(source_files))
  }
})
