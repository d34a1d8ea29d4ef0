/** Files as the reference's own writer makes them, whole and in shards. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import fs from 'fs-extra'
import { test } from 'tap'
import {
  mapMetadata,
  safetensorsReader,
  safetensorsWriter,
  verify,
  type DType,
  type SafetensorsModel,
} from 'apr-stream'
import type { Layout } from '../../../dist/formats/format.js'
import { FORMATS } from '../../../dist/formats/formats.js'
import { filesIn, sameBytes } from '../../helpers/files.js'
import { parseTensors, tensorsFile, type FileTensor } from '../../helpers/safetensors-file.js'

/** Made by `safetensors.numpy.save_file` 0.8.0, and cut by `split_state_dict_into_shards_factory` of huggingface_hub. */
const REFERENCE = 'test/fixtures/safetensors'
const { safetensors } = FORMATS

async function modelOf(path: string): Promise<SafetensorsModel> {
  for await (const record of safetensorsReader(path)) return record.model as SafetensorsModel
  throw new Error('no tensors')
}

/** All files of a layout, filled with a file's tensors. */
function filesOf(layout: Layout, tensors: ReadonlyMap<string, FileTensor>): Map<string, Buffer> {
  const files = layout.files.map((file) => {
    const bytes = Buffer.alloc(file.fileSize)
    bytes.set(file.head())
    return bytes
  })
  for (const { tensor, file, position } of layout.tensors)
    files[file]?.set(tensors.get(tensor.name)?.bytes ?? [], position)
  return new Map(layout.files.map(({ name }, i) => [name, files[i] ?? Buffer.alloc(0)]))
}

void test('what the reference has written is written again, byte for byte', async (t) => {
  const output = join(t.testdir(), 'out.safetensors')
  for (const name of ['whole', 'meta']) {
    const path = `${REFERENCE}/${name}.safetensors`
    await pipeline(safetensorsReader(path), safetensorsWriter(output, { overwrite: true }))
    sameBytes(t, readFileSync(output), readFileSync(path), name)
  }
  t.match(await verify(output), { ok: true })
})

void test('shards and their index are those of the tools of Hugging Face, byte for byte', async (t) => {
  const path = `${REFERENCE}/meta.safetensors`
  const layout = safetensors.layout(await modelOf(path), {
    name: 'model.safetensors',
    isFolder: true,
    maxFileBytes: 300,
  })
  const files = filesOf(layout, parseTensors(readFileSync(path)))
  t.equal(layout.files[0].name, 'model.safetensors.index.json')
  t.strictSame([...files.keys()].sort(), filesIn(`${REFERENCE}/shards-300`))
  for (const [name, bytes] of files) sameBytes(t, bytes, readFileSync(`${REFERENCE}/shards-300/${name}`), name)
})

void test('a folder of shards is written through the stream: with its index, byte for byte, over an earlier one too', async (t) => {
  const folder = join(t.testdir(), 'new')
  for (const overwrite of [false, true]) {
    const writer = safetensorsWriter(`${folder}/`, { shardMaxBytes: 300, overwrite })
    await pipeline(safetensorsReader(`${REFERENCE}/meta.safetensors`), writer)
    t.strictSame(filesIn(folder), filesIn(`${REFERENCE}/shards-300`))
    for (const name of filesIn(folder)) {
      sameBytes(t, readFileSync(join(folder, name)), readFileSync(`${REFERENCE}/shards-300/${name}`), name)
    }
  }
  t.match(await verify(folder), { ok: true })
})

void test('shards of any size give the same tensors, in the folder what stands beside them', async (t) => {
  const source = 'test/fixtures/hf/small/models/golden-qwen3moe-4x64'
  const model = await modelOf(source)
  const stored = new Map<string, FileTensor>()
  for (const name of filesIn(source).filter((file) => file.endsWith('.safetensors'))) {
    for (const [key, tensor] of parseTensors(readFileSync(join(source, name)))) stored.set(key, tensor)
  }
  const beside = filesIn(source).filter((name) => !name.includes('.safetensors'))
  for (const maxFileBytes of [1, 10_000, 100_000, 1e9, undefined]) {
    const folder = join(t.testdir(), String(maxFileBytes))
    const layout = safetensors.layout(model, { name: 'model.safetensors', isFolder: true, maxFileBytes })
    for (const [name, bytes] of filesOf(layout, stored)) await fs.outputFile(join(folder, name), bytes)
    const found = new Map<string, Buffer>()
    for await (const { name, data } of safetensorsReader(folder)) {
      found.set(name, Buffer.concat([found.get(name) ?? Buffer.alloc(0), data]))
    }
    t.strictSame([...found.keys()].sort(), [...stored.keys()].sort())
    for (const [name, { bytes }] of stored) t.ok(found.get(name)?.equals(bytes), `${name}, ${maxFileBytes ?? 'whole'}`)
    for (const name of beside) t.ok(readFileSync(join(folder, name)).equals(readFileSync(join(source, name))), name)
  }
})

void test('metadata are texts, set and removed', async (t) => {
  const output = join(t.testdir(), 'out.safetensors')
  const path = `${REFERENCE}/meta.safetensors`
  await pipeline(
    safetensorsReader(path),
    mapMetadata(() => ({ format: undefined, ['__proto__']: 'é"\n', a: '' })),
    safetensorsWriter(output),
  )
  t.strictSame(Object.entries((await modelOf(output)).metadata), [['__proto__', 'é"\n'], ['a', '']]) // prettier-ignore
  const writer = safetensorsWriter(output, { overwrite: true })
  const odd = pipeline(safetensorsReader(path), mapMetadata(() => ({ a: 1 })), writer) // prettier-ignore
  await t.rejects(odd, { code: 'APR_BAD_METADATA', message: /text for "a".*found 1/ })
})

void test('what the format cannot hold is refused', (t) => {
  const refused = (name: string, dtype: DType, shape: number[], size: number, code: string): void => {
    t.throws(() => safetensors.checkTensor({ name, dtype, shape, size }), { code }, `${name} ${dtype}`)
  }
  refused('a', 'Q4_K', [1, 256], 144, 'APR_UNSUPPORTED')
  refused('a', 'APR_Q8', [1], 5, 'APR_UNSUPPORTED')
  refused('__metadata__', 'F32', [1], 4, 'APR_UNSUPPORTED')
  refused('\ud800', 'F32', [1], 4, 'APR_UNSUPPORTED')
  refused('a', 'F32', [1], 3, 'APR_BAD_RECORD')
  refused('a', 'F4', [3], 2, 'APR_BAD_INDEX')
  refused('a', 'F64', [2 ** 52], 2 ** 55, 'APR_LIMIT')
  const tensor = { name: 'a', dtype: 'U8', shape: [1], size: 1 } as const
  const model: SafetensorsModel = {
    format: 'safetensors',
    tensors: [tensor],
    metadata: {},
    folder: '',
    files: new Map(),
  }
  const options = { name: 'model.safetensors', isFolder: true }
  t.throws(() => safetensors.layout({ ...model, tensors: [tensor, tensor] }, options), { code: 'APR_BAD_INDEX' })
  for (const name of ['../x', 'a/b', '..', '', 'x.safetensors', 'model.safetensors.index.json']) {
    const files = new Map([[name, new Uint8Array(1)]])
    t.throws(() => safetensors.layout({ ...model, files }, options), { code: 'APR_BAD_RECORD' }, name)
    t.doesNotThrow(() => safetensors.layout({ ...model, files }, { ...options, isFolder: false }))
  }
  t.end()
})

const BITS = { BOOL: 8, F4: 4, F6_E3M2: 6, U8: 8, F8_E8M0: 8, I16: 16, BF16: 16, F32: 32, C64: 64, U64: 64 }

void test('random models: whatever is read is written so that it is read the same', async (t) => {
  const random = fc.uniqueArray(
    fc.record({
      name: fc.oneof(
        fc.string({ unit: 'grapheme', maxLength: 6 }),
        fc.constantFrom('é', '\u{10000}', '\uffee', '__proto__', '7', '"\n\\'),
      ),
      dtype: fc.constantFrom(...(Object.keys(BITS) as (keyof typeof BITS)[])),
      shape: fc.array(fc.constantFrom(0, 1, 2, 3, 5, 8, 100), { maxLength: 4 }),
      seed: fc.nat(255),
    }),
    { maxLength: 12, minLength: 1, selector: ({ name }) => name },
  )
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.safetensors'), join(folder, 'out.safetensors')]
  await fc.assert(
    fc.asyncProperty(random, fc.constantFrom(1, 64, 100_000), async (models, recordBytes) => {
      const tensors = models
        .filter(({ name }) => name !== '__metadata__')
        .map(({ name, dtype, shape: dimensions, seed }): FileTensor => {
          // Whole bytes of each dtype, and no more than a few kilobytes.
          const shape = dimensions.reduce<number>((a, b) => a * b, 1) > 20_000 ? [4] : [...dimensions, 4]
          const bits = shape.reduce<number>((a, b) => a * b, 1) * BITS[dtype]
          return {
            name,
            dtype,
            shape,
            bytes: Buffer.from(Array.from({ length: bits / 8 }, (_, i) => (i * 31 + seed) & 255)),
          }
        })
      await fs.writeFile(input, tensorsFile(tensors, { seed: 'é' }))
      await pipeline(safetensorsReader(input, { recordBytes }), safetensorsWriter(output, { overwrite: true }))
      const found = parseTensors(await fs.readFile(output))
      const sorted = (all: Iterable<FileTensor>): unknown =>
        [...all]
          .map((one) => ({ ...one, bytes: Buffer.from(one.bytes).toString('hex') }))
          .sort((a, b) => (a.name < b.name ? -1 : 1))
      t.strictSame(sorted(found.values()), sorted(tensors))
      // The canonical file is written as it is.
      const canonical = await fs.readFile(output)
      await fs.writeFile(input, canonical)
      await pipeline(safetensorsReader(input), safetensorsWriter(output, { overwrite: true }))
      t.ok(canonical.equals(await fs.readFile(output)))
    }),
    { numRuns: 60 },
  )
})
