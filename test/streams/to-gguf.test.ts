/** From Hugging Face folders to GGUF: the files that llama.cpp's converter writes, whatever the records are. */
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import fs from 'fs-extra'
import { test } from 'tap'
import {
  ggufReader,
  ggufWriter,
  openFile,
  q4k,
  safetensorsReader,
  toGguf,
  type Model,
  type TensorRecord,
  type ToGgufOptions,
} from 'apr-stream'
import { filesIn, run, sameBytes } from '../helpers/files.js'
import { goldenExpected, goldenFolder, goldenModels } from '../helpers/golden-hf.js'
import { randomBits } from '../helpers/random.js'

const LARGER = 'test/fixtures/hf/larger'
const LLAMA = 'Golden-Llama-3.2-Instruct'

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

/** A stage of a user's own, which makes of a record as many as it likes. */
function changed(change: (record: TensorRecord) => TensorRecord[]): Transform {
  return new Transform({
    objectMode: true,
    transform(record: TensorRecord, _, done) {
      for (const each of change(record)) this.push(each)
      done()
    },
  })
}

/** Cuts records anywhere between two elements. */
function cutAnywhere(seed: number): Transform {
  const next = randomBits(seed)
  return changed((record) => {
    const bytes = record.dtype === 'F32' ? 4 : 2
    const parts: TensorRecord[] = []
    for (let at = 0; at < record.data.length;) {
      const size = Math.min(record.data.length - at, bytes * (1 + (next() % (next() % 3 === 0 ? 7 : 3000))))
      parts.push({ ...record, offset: record.offset + at, data: record.data.slice(at, at + size) })
      at += size
    }
    return parts
  })
}

for (const name of goldenModels()) {
  void test(`${name} becomes the converter's file, of every dtype and whatever a record holds`, async (t) => {
    const folder = t.testdir()
    const { pre, convert, outtypes } = await goldenExpected(name)
    const expected = { auto: convert, f32: outtypes.f32, f16: outtypes.f16, bf16: outtypes.bf16 }
    for (const [outtype, { sha256: hash }] of Object.entries(expected)) {
      const options = { pre, outtype } as ToGgufOptions
      for (const recordBytes of [512, 12_345, undefined]) {
        const out = join(folder, `${outtype}.gguf`)
        await run([
          safetensorsReader(goldenFolder(name), { recordBytes }),
          toGguf(options),
          ggufWriter(out, { overwrite: true }),
        ])
        t.equal(await sha256(out), hash, `${outtype}, records of ${recordBytes} bytes`)
      }
    }
    const cut = join(folder, 'cut.gguf')
    await run([safetensorsReader(goldenFolder(name)), cutAnywhere(5), toGguf({ pre }), ggufWriter(cut)])
    t.equal(await sha256(cut), convert.sha256, 'records cut anywhere')
  })

  void test(`${name} is quantized on the way as it is from a file`, async (t) => {
    const folder = t.testdir()
    const { pre } = await goldenExpected(name)
    const [whole, twice, once] = ['whole', 'twice', 'once'].map((file) => join(folder, `${file}.gguf`))
    if (!whole || !twice || !once) throw new Error('no paths')
    await run([safetensorsReader(goldenFolder(name)), toGguf({ pre }), ggufWriter(whole)])
    await run([ggufReader(whole), q4k({ threads: 1 }), ggufWriter(twice)])
    for (const recordBytes of [1000, undefined]) {
      const reader = safetensorsReader(goldenFolder(name), { recordBytes })
      await run([reader, cutAnywhere(3), toGguf({ pre }), q4k({ threads: 1 }), ggufWriter(once, { overwrite: true })])
      sameBytes(t, await fs.readFile(once), await fs.readFile(twice), `records of ${recordBytes} bytes`)
    }
  })
}

for (const name of ['large-qwen2', 'large-llama-3']) {
  void test(`${name}, whose tokenizer is a real one, becomes the converter's file`, async (t) => {
    const folder = t.testdir()
    execFileSync(process.execPath, [join(LARGER, 'make-model.mjs'), name, folder])
    const out = join(folder, 'out.gguf')
    await run([safetensorsReader(join(folder, name)), toGguf(), ggufWriter(out)])
    const { convert } = (await fs.readJson(join(LARGER, 'expected', `${name}.json`))) as { convert: { sha256: string } }
    t.equal(await sha256(out), convert.sha256)
  })
}

void test('a file without its folder takes the files of `config`', async (t) => {
  const name = 'tiny-llama-f32'
  const { pre, convert } = await goldenExpected(name)
  const folder = t.testdir()
  const out = join(folder, 'out.gguf')
  const alone = join(folder, 'model.safetensors')
  await fs.copy(join(goldenFolder(name), 'model.safetensors'), alone)
  const found = { code: 'APR_BAD_METADATA', message: /config\.json/ }
  await t.rejects(run([safetensorsReader(alone), toGguf({ pre }), ggufWriter(out)]), found)
  t.strictSame(filesIn(folder), ['model.safetensors'])
  const source = await openFile(alone)
  await run([safetensorsReader(source), toGguf({ pre, config: goldenFolder(name) }), ggufWriter(out)])
  t.equal(await sha256(out), convert.sha256)
  const missing = toGguf({ pre, config: join(folder, 'nowhere') })
  await t.rejects(run([safetensorsReader(alone), missing, ggufWriter(out)]), { code: 'ENOENT' })
})

void test('GGUF passes as it is', async (t) => {
  const folder = t.testdir()
  const { pre } = await goldenExpected(LLAMA)
  const first = join(folder, 'first.gguf')
  const second = join(folder, 'second.gguf')
  await run([safetensorsReader(goldenFolder(LLAMA)), toGguf({ pre }), toGguf(), ggufWriter(first)])
  await run([ggufReader(first), toGguf(), ggufWriter(second)])
  t.equal(await sha256(first), await sha256(second))
})

/** One change to the record of a tensor that holds this element; what is refused, and where it is said to be. */
function patched(tensor: string, element: number, bytes: readonly number[]): Transform {
  return changed((record) => {
    const at = element * bytes.length - record.offset
    if (record.name !== tensor || at < 0 || at >= record.data.length) return [record]
    const data = record.data.slice()
    data.set(bytes, at)
    return [{ ...record, data }]
  })
}

void test('what is no number, or too large for the dtype, is refused by its tensor and element', async (t) => {
  const folder = t.testdir()
  const { pre } = await goldenExpected(LLAMA)
  const NAN = [0xc0, 0x7f]
  const LARGE = [0x80, 0x47]
  const cases = [
    { tensor: 'model.layers.0.mlp.down_proj.weight', bytes: NAN, outtype: 'auto', message: /^expected finite/ },
    { tensor: 'model.layers.0.mlp.down_proj.weight', bytes: NAN, outtype: 'f32', message: /^expected finite/ },
    { tensor: 'model.layers.1.self_attn.q_proj.weight', bytes: NAN, outtype: 'auto', message: /found NaN/ },
    { tensor: 'model.layers.1.self_attn.k_proj.weight', bytes: NAN, outtype: 'f16', message: /found NaN/ },
    { tensor: 'model.norm.weight', bytes: NAN, outtype: 'auto', message: /found NaN/ },
    { tensor: 'lm_head.weight', bytes: LARGE, outtype: 'f16', message: /that F16 can hold, found 65536;/ },
  ] as const
  for (const { tensor, bytes, outtype, message } of cases) {
    for (const recordBytes of [512, undefined]) {
      const reader = safetensorsReader(goldenFolder(LLAMA), { recordBytes })
      const stages = [reader, patched(tensor, 77, bytes), toGguf({ pre, outtype }), ggufWriter(join(folder, 'x.gguf'))]
      await t.rejects(run(stages), { code: 'APR_BAD_VALUE', tensor, element: 77, message })
    }
  }
  t.strictSame(filesIn(folder), [])
})

void test('records that make no tensor are refused', async (t) => {
  const folder = t.testdir()
  const { pre } = await goldenExpected(LLAMA)
  const q = 'model.layers.0.self_attn.q_proj.weight'
  const cut = (record: TensorRecord, at: number, size?: number): TensorRecord => {
    const data = record.data.slice(at, size === undefined ? undefined : at + size)
    return { ...record, offset: record.offset + at, data }
  }
  const of = (name: string, change: (record: TensorRecord) => TensorRecord[]): Transform =>
    changed((record) => (record.name === name ? change(record) : [record]))
  const cases: Record<string, [Transform, RegExp, string?]> = {
    'a cut inside an element': [of(q, (r) => [cut(r, 0, 33), cut(r, 33)]), /of whole elements/],
    'a gap inside a head': [of(q, (r) => [cut(r, 0, 64), cut(r, 128)]), /starts where the tensor's last one ended/],
    'part of a head twice': [of(q, (r) => [cut(r, 0, 64), cut(r, 32)]), /starts where the tensor's last one ended/],
    'the end of a head missing': [of(q, (r) => [cut(r, 0, r.data.length - 2)]), /expected more of the tensor/],
    'a dtype that was not announced': [of(q, (r) => [{ ...r, dtype: 'F16' }]), /as their model announces them/],
    'a tensor that was not announced': [of(q, (r) => [{ ...r, name: 'x' }]), /as their model announces them/, 'x'],
    'a tensor missing': [of(q, () => []), /found none for 1: blk\.0\.attn_q\.weight/, ''],
  }
  for (const [what, [stage, message, tensor = q]] of Object.entries(cases)) {
    const stages = [safetensorsReader(goldenFolder(LLAMA)), stage, toGguf({ pre }), ggufWriter(join(folder, 'x.gguf'))]
    await t.rejects(run(stages), tensor === '' ? { message } : { code: 'APR_BAD_RECORD', tensor, message }, what)
  }
  t.strictSame(filesIn(folder), [])
})

void test('a model that is refused leaves nothing, and says all that is wrong with it', async (t) => {
  const folder = t.testdir()
  const renamed = (model: Model): Model => {
    const tensors = model.tensors.map((tensor) => ({ ...tensor, name: tensor.name.replace('mlp.up', 'mlp.upper') }))
    return Object.freeze({ ...model, tensors })
  }
  const models = new Map<Model, Model>()
  const stage = changed((record) => {
    const model = models.get(record.model) ?? renamed(record.model)
    models.set(record.model, model)
    return [{ ...record, name: record.name.replace('mlp.up', 'mlp.upper'), model }]
  })
  const stages = [safetensorsReader(goldenFolder(LLAMA)), stage, toGguf(), ggufWriter(join(folder, 'x.gguf'))]
  const message = /model\.layers\.0\.mlp\.upper_proj\.weight, .*1\.mlp\.upper_proj\.weight.*pre/s
  await t.rejects(run(stages), { code: 'APR_UNSUPPORTED', message })
  t.strictSame(filesIn(folder), [])
})

void test('options that there are not are refused at once', (t) => {
  const bad: unknown[] = [{ outtype: 'q8_0' }, { pre: 3 }, { config: 7 }, { type: 'f16' }]
  for (const options of bad) t.throws(() => toGguf(options as ToGgufOptions), { code: 'APR_BAD_OPTION' })
  t.end()
})
