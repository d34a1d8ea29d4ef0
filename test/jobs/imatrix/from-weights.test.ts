/* eslint-disable @typescript-eslint/no-non-null-assertion -- loops over arrays read best as loops */
/** Importance from the weights alone: against a plain implementation, and as quantize takes it. */
import { join, resolve } from 'node:path'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { convert, ggufReader, imatrix, inspect, plan, quantize, safetensorsReader, type AprError } from 'apr-stream'
import { meanSquareOfSilu } from '../../../dist/recipes/moments/silu.js'
import { goldenFolder } from '../../helpers/golden-hf.js'

/** Below it f32 loses bits. */
const LEAST_F32 = 2 ** -126

interface Shaped {
  readonly shape: readonly number[]
  readonly values: Float64Array
}

/** All tensors of a model as numbers: of F32, F16 and BF16. */
async function numbersOf(reader: AsyncIterable<unknown>): Promise<ReadonlyMap<string, Shaped>> {
  const bytes = new Map<string, { dtype: string; shape: readonly number[]; data: Uint8Array }>()
  for await (const record of reader) {
    const { name, dtype, shape, size, offset, data } = record as import('apr-stream').TensorRecord
    const all = bytes.get(name) ?? { dtype, shape, data: new Uint8Array(size) }
    bytes.set(name, all)
    all.data.set(data, offset)
  }
  return new Map([...bytes].map(([name, { dtype, shape, data }]) => [name, { shape, values: toNumbers(dtype, data) }]))
}

function toNumbers(dtype: string, data: Uint8Array): Float64Array {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (dtype === 'F32') return Float64Array.from({ length: data.length / 4 }, (_, i) => view.getFloat32(i * 4, true))
  return Float64Array.from({ length: data.length / 2 }, (_, i) => {
    const bits = view.getUint16(i * 2, true)
    if (dtype === 'BF16') {
      const wide = new DataView(new ArrayBuffer(4))
      wide.setUint32(0, bits * 65536)
      return wide.getFloat32(0)
    }
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
  })
}

/** By Simpson's rule, of another step and reach than the product's. */
function siluSquared(variance: number): number {
  const steps = 2000
  const reach = 12
  let sum = 0
  for (let i = 0; i <= steps; i++) {
    const z = -reach + (2 * reach * i) / steps
    const x = Math.sqrt(variance) * z
    const silu = x / (1 + Math.exp(-x))
    const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2
    sum += (weight * silu * silu * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI)
  }
  return (sum * ((2 * reach) / steps)) / 3
}

interface Config {
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly num_key_value_heads: number
  readonly num_experts_per_tok?: number
}

/** The importance of every tensor, written down as loops over the Hugging Face names. */
function plainly(tensors: ReadonlyMap<string, Shaped>, config: Config): Map<string, Float64Array> {
  const get = (name: string): Shaped => {
    const found = tensors.get(name)
    if (!found) throw new Error(name)
    return found
  }
  const times = ({ shape: [rows = 0, cols = 0], values }: Shaped, x: ArrayLike<number>): Float64Array => {
    const result = new Float64Array(rows)
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < cols; c++) result[r]! += values[r * cols + c]! ** 2 * Number(x[c])
    return result
  }
  const { shape, values: embedding } = get('model.embed_tokens.weight')
  const [vocabulary = 0, width = 0] = shape
  const residual = new Float64Array(width)
  embedding.forEach((value, i) => (residual[i % width]! += value ** 2 / vocabulary))
  const normed = (name: string): Float64Array => {
    const mean = residual.reduce((a, b) => a + b) / width
    return residual.map((value, j) => (value / mean) * get(name).values[j]! ** 2)
  }
  const result = new Map<string, Float64Array>()
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = (name: string): string => `model.layers.${layer}.${name}.weight`
    const name = (kind: string): string => `blk.${layer}.${kind}.weight`
    const a = normed(at('input_layernorm'))
    for (const kind of ['attn_q', 'attn_k', 'attn_v']) result.set(name(kind), a)
    const v = times(get(at('self_attn.v_proj')), a)
    const bias = tensors.get(`model.layers.${layer}.self_attn.v_proj.bias`)
    bias?.values.forEach((value, i) => (v[i]! += value ** 2))
    const head = v.length / config.num_key_value_heads
    const share = config.num_attention_heads / config.num_key_value_heads
    const o = Float64Array.from({ length: head * config.num_attention_heads }, (_, i) => {
      return v[Math.floor(Math.floor(i / head) / share) * head + (i % head)]!
    })
    result.set(name('attn_output'), o)
    times(get(at('self_attn.o_proj')), o).forEach((value, r) => (residual[r]! += 0.5 * value))
    const f = normed(at('post_attention_layernorm'))
    const forward = (gate: string, up: string, down: string): { h: Float64Array; out: Float64Array } => {
      const g = times(get(at(gate)), f)
      const h = times(get(at(up)), f).map((value, i) => value * siluSquared(g[i]!))
      return { h, out: times(get(at(down)), h) }
    }
    if (tensors.has(at('mlp.gate_proj'))) {
      const { h, out } = forward('mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj')
      for (const kind of ['ffn_gate', 'ffn_up']) result.set(name(kind), f)
      result.set(name('ffn_down'), h)
      out.forEach((value, r) => (residual[r]! += value))
      continue
    }
    const [prefix, gate, up, down] = tensors.has(at('mlp.experts.0.gate_proj'))
      ? (['mlp.experts', 'gate_proj', 'up_proj', 'down_proj'] as const)
      : (['block_sparse_moe.experts', 'w1', 'w3', 'w2'] as const)
    const hidden: Float64Array[] = []
    const outs: Float64Array[] = []
    for (let e = 0; tensors.has(at(`${prefix}.${e}.${gate}`)); e++) {
      const { h, out } = forward(`${prefix}.${e}.${gate}`, `${prefix}.${e}.${up}`, `${prefix}.${e}.${down}`)
      hidden.push(h)
      outs.push(out)
    }
    const repeated = Float64Array.from(hidden.flatMap(() => [...f]))
    for (const kind of ['ffn_gate_exps', 'ffn_up_exps']) result.set(name(kind), repeated)
    result.set(name('ffn_down_exps'), Float64Array.from(hidden.flatMap((h) => [...h])))
    const used = config.num_experts_per_tok ?? outs.length
    for (const out of outs) out.forEach((value, r) => (residual[r]! += value / outs.length / used))
  }
  return result
}

const MODELS = {
  'Golden-Llama-3.2-Instruct': 'llama-bpe',
  'Golden-Qwen2.5-0.9M-Instruct': 'qwen2',
  'golden-qwen3-f16': 'qwen2',
  'golden-qwen3moe-4x64': 'qwen2',
  'mixtral-eight': 'tekken',
} as const

void test('the second moment of silu is the integral', (t) => {
  for (const variance of [0, 1e-13, 1e-6, 0.1, 0.7321, 1, 3.3, 50, 1234.5, 1e9]) {
    const found = meanSquareOfSilu(variance)
    if (variance > 1e6) t.ok(Math.abs(found / variance - 0.5) < 1e-5, `${variance}`)
    else t.ok(Math.abs(found - siluSquared(variance)) <= 1e-6 * siluSquared(variance), `${variance}: ${found}`)
  }
  t.end()
})

for (const [name, pre] of Object.entries(MODELS)) {
  void test(`the importance of ${name} is that of a plain implementation`, async (t) => {
    const folder = goldenFolder(name)
    const path = join(t.testdir(), 'imatrix.gguf')
    const report = await imatrix(folder, path, { pre })
    const config = (await fs.readJson(join(folder, 'config.json'))) as Config
    const expected = plainly(await numbersOf(safetensorsReader(folder)), config)
    t.equal(report.tensors, expected.size)
    const found = await numbersOf(ggufReader(path))
    t.equal(found.size, 2 * expected.size)
    for (const [tensor, values] of expected) {
      const own = found.get(`${tensor}.in_sum2`)?.values ?? new Float64Array(0)
      t.equal(own.length, values.length, tensor)
      t.ok(
        values.every((value, i) => Math.abs((own[i] ?? NaN) - value) <= 1e-5 * value + LEAST_F32),
        tensor,
      )
      t.ok(found.get(`${tensor}.counts`)?.values.every((count) => count === 1))
    }
  })

  void test(`a quantization of ${name} by its moments is that by the file of them`, async (t) => {
    const folder = resolve(goldenFolder(name))
    const dir = t.testdir()
    await imatrix(folder, join(dir, 'moments'), { pre })
    const options = { recipe: 'Q4_K_M', pre, to: 'gguf' } as const
    await inFolder(t, dir, async () => {
      await quantize(folder, 'file.gguf', { ...options, imatrix: 'moments' })
      await quantize(folder, 'own.gguf', { ...options, importance: 'moments' })
      await quantize(folder, 'stream.gguf', { ...options, importance: 'moments', mode: 'stream', recordBytes: 5000 })
      await quantize(folder, 'plain.gguf', options)
      const file = await fs.readFile('file.gguf')
      t.ok((await fs.readFile('own.gguf')).equals(file), 'in memory')
      t.ok((await fs.readFile('stream.gguf')).equals(file), 'streamed')
      t.notOk((await fs.readFile('plain.gguf')).equals(file), 'other bytes than without')
      // The names of Hugging Face in APR, and GGUF.
      await convert(folder, 'model.apr', { pre })
      await convert(folder, 'model.gguf', { pre })
      for (const input of ['model.apr', 'model.gguf']) {
        await imatrix(input, `${input}.imatrix`, { pre })
        const numbers = await numbersOf(ggufReader(`${input}.imatrix`))
        for (const [tensor, { values }] of await numbersOf(ggufReader('moments'))) {
          t.ok(
            numbers.get(tensor)?.values.every((value, i) => Math.abs(value - (values[i] ?? NaN)) <= 0.01 * value),
            `${input}: ${tensor}`,
          )
        }
      }
    })
  })
}

void test('a plan by moments reads no tensor, and tells what the job does', async (t) => {
  const folder = goldenFolder('golden-qwen3-f16')
  const options = { recipe: 'Q4_K_M', importance: 'moments', pre: 'qwen2' } as const
  const planned = await plan(folder, { ...options, output: 'x.gguf' })
  const dir = t.testdir()
  const phases: string[] = []
  const report = await quantize(folder, join(dir, 'x.gguf'), {
    ...options,
    onProgress: ({ phase }) => phases.push(phase),
  })
  t.equal(planned.outputBytes, report.outputBytes)
  t.same(planned.reasons, report.reasons)
  t.equal(phases[0], 'weighing')
  const { metadata } = await inspect(join(dir, 'x.gguf'))
  t.equal(metadata['quantize.imatrix.file'], 'moments')
})

void test('moments are refused with what else says importance, and without a recipe', async (t) => {
  const folder = goldenFolder('golden-qwen3-f16')
  const output = join(t.testdir(), 'x.gguf')
  const both = { recipe: 'Q4_K_M', imatrix: 'x', importance: 'moments' } as const
  await t.rejects(quantize(folder, output, both), { code: 'APR_BAD_OPTION' })
  await t.rejects(quantize(folder, output, { importance: 'moments' }), { code: 'APR_BAD_OPTION' })
  await t.rejects(imatrix(folder, output, { from: 'text' as 'weights' }), { code: 'APR_BAD_OPTION' })
})

void test('a model of another architecture is refused, and nothing is written', async (t) => {
  const dir = t.testdir()
  await fs.copy(goldenFolder('golden-qwen3-f16'), join(dir, 'model'))
  await convert(join(dir, 'model'), join(dir, 'model.gguf'), { pre: 'qwen2' })
  const bytes = await fs.readFile(join(dir, 'model.gguf'), 'latin1')
  await fs.writeFile(join(dir, 'other.gguf'), bytes.replaceAll('qwen3', 'qwenX'), 'latin1')
  const error = (await imatrix(join(dir, 'other.gguf'), join(dir, 'out.gguf')).catch((e: unknown) => e)) as AprError
  t.equal(error.code, 'APR_UNSUPPORTED')
  t.match(error.message, /llama, qwen2, qwen3, qwen3moe.*found qwenX/)
  t.same((await fs.readdir(dir)).sort(), ['model', 'model.gguf', 'other.gguf'])
})

/** Names of files are written into the files: relative ones are the same for all. */
async function inFolder(t: Test, dir: string, work: () => Promise<void>): Promise<void> {
  const before = process.cwd()
  process.chdir(dir)
  t.teardown(() => process.chdir(before))
  await work()
}
