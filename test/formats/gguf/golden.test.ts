/** Files that llama.cpp wrote go through byte for byte, and are cut as it cuts them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { ggufReader, ggufWriter, inspect, verify } from 'apr-stream'
import { FORMATS } from '../../../dist/formats/formats.js'
import { openInput } from '../../../dist/streams/open-input.js'
import { goldenExpected } from '../../helpers/golden-hf.js'
import { sameBytes } from '../../helpers/files.js'
import { layoutFiles } from '../../helpers/layout-files.js'

const FOLDER = 'test/fixtures/hf/small/gguf'
const FILES = [
  'qwen3moe-stacked.Q4_K_M',
  'qwen3moe-stacked.convert',
  'tiny-llama-f32.Q4_K_M',
  'tiny-llama-f32.convert',
] as const
const MODELS = ['qwen3moe-stacked', 'tiny-llama-f32'] as const
const HOSTILE = 'test/fixtures/hf/hostile/gguf'

for (const name of FILES) {
  void test(`${name} goes through byte for byte, whatever the records`, async (t) => {
    const input = join(FOLDER, `${name}.gguf`)
    const output = join(t.testdir(), 'out.gguf')
    for (const options of [{}, { recordBytes: 1, highWaterMark: 1 }, { recordBytes: 5000, highWaterMark: 10_000 }]) {
      await pipeline(ggufReader(input, options), ggufWriter(output, { overwrite: true }))
      sameBytes(t, readFileSync(output), readFileSync(input), JSON.stringify(options))
    }
    t.match(await verify(output), { ok: true })
  })
}

void test('a model with an alignment of its own keeps it', async (t) => {
  const input = join(HOSTILE, '21-model-alignment-4096.gguf')
  const output = join(t.testdir(), 'out.gguf')
  await pipeline(ggufReader(input), ggufWriter(output))
  sameBytes(t, readFileSync(output), readFileSync(input), 'alignment 4096')
})

for (const name of MODELS) {
  void test(`${name} is told as the converter wrote it`, async (t) => {
    const { convert } = await goldenExpected(name)
    const { version, metadata, metadataTypes, tensors, size } = await inspect(join(FOLDER, `${name}.convert.gguf`))
    t.equal(version, '3')
    t.equal(size, convert.bytes)
    t.strictSame(
      Object.keys(metadata),
      convert.kv.map(({ key }) => key),
    )
    for (const { key, type, value } of convert.kv) {
      t.strictSame(metadata[key], value, key)
      t.equal(metadataTypes?.[key], type.replace(/^array\[(.*)\]$/, '$1[]'), `type of ${key}`)
    }
    t.strictSame(
      tensors.map(({ name, shape, dtype, size }) => ({ name, dims: [...shape].reverse(), dtype, bytes: size })),
      convert.tensors.map(({ name, dims, dtype, bytes }) => ({ name, dims, dtype, bytes })),
    )
  })

  void test(`${name} is cut as the converter cuts it, and but for the order of keys as llama-gguf-split`, async (t) => {
    const { convertSplit, split } = await goldenExpected(name)
    const opened = await openInput(join(FOLDER, `${name}.convert.gguf`), FORMATS.gguf)
    t.teardown(() => opened.input.close())
    const files = await layoutFiles(FORMATS.gguf, opened, { name: 'conv.gguf', maxFileTensors: 9 })
    t.strictSame(
      [...files].map(([name, file]) => ({ name, bytes: file.length, sha256: sha256(file) })),
      convertSplit.files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
    )
    t.strictSame(
      [...files.values()].map((file) => sha256(countLast(file))),
      split.source.files.map(({ sha256 }) => sha256),
    )
  })
}

function sha256(file: Buffer): string {
  return createHash('sha256').update(file).digest('hex')
}

/** Puts `split.count` behind `split.tensors.count`. */
function countLast(file: Buffer): Buffer {
  const [count, total] = ['split.count', 'split.tensors.count'].map((key) => file.indexOf(key) - 8) as [number, number]
  const end = total + 8 + 'split.tensors.count'.length + 4 + 4
  return Buffer.concat([
    file.subarray(0, count),
    file.subarray(total, end),
    file.subarray(count, total),
    file.subarray(end),
  ])
}
