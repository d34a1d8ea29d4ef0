/** Weights in FP8 with scales are BF16, bit for bit what f32 arithmetic and one rounding give. */
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { safetensorsReader, type SafetensorsModel } from 'apr-stream'
import { arbitraryTensor, sameBytes } from '../../helpers/files.js'
import { tensorsFile, type FileTensor } from '../../helpers/safetensors-file.js'

const FP8 = { quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128] }, hidden_size: 7 }

/** By the definition of the type: 1 bit sign, 4 bits exponent, 3 bits mantissa. */
function e4m3(code: number): number {
  const sign = code & 0x80 ? -1 : 1
  const exponent = (code >> 3) & 15
  const fraction = (code & 7) / 8
  return exponent === 0 ? sign * fraction * 2 ** -6 : sign * (1 + fraction) * 2 ** (exponent - 7)
}

/** The BF16 next to a value in f32, the even one of two that are equally near: found among both neighbours. */
function bf16(value: number): number {
  const wide = Buffer.alloc(4)
  wide.writeFloatBE(value)
  const below = wide.readUInt16BE()
  const valueOf = (pattern: number): number => {
    wide.writeUInt32BE(pattern * 65536)
    return wide.readFloatBE()
  }
  const [low, high] = [Math.abs(value - valueOf(below)), Math.abs(valueOf(below + 1) - value)]
  if (low === high) return below % 2 === 0 ? below : below + 1
  return low < high ? below : below + 1
}

/** Every code but NaN, in an order that mixes rows. */
const codes = (count: number): Buffer => {
  return Buffer.from(
    Array.from({ length: count }, (_, i) => (i * 7 + (i >> 8)) & 255).map((c) => ((c & 127) === 127 ? 1 : c)),
  )
}

const weight = (name: string, shape: number[]): FileTensor => {
  return { name, dtype: 'F8_E4M3', shape, bytes: codes(shape.reduce((product, length) => product * length, 1)) }
}

const scales = (name: string, shape: number[], seed = 1): FileTensor => {
  const count = shape.reduce((product, length) => product * length, 1)
  const bytes = Buffer.alloc(4 * count)
  for (let i = 0; i < count; i++) bytes.writeFloatLE(Math.fround(Math.sin(i + seed) * 1e-3), 4 * i)
  return { name, dtype: 'F32', shape, bytes }
}

/** What must come of a weight; `scaleOf` says which scale an element has, by its indices. */
function expected(
  { shape, bytes }: FileTensor,
  scaleBytes: Uint8Array,
  scaleOf: (indices: number[]) => number,
): Buffer {
  const result = Buffer.alloc(bytes.length * 2)
  const scale = Buffer.from(scaleBytes)
  bytes.forEach((code, i) => {
    let rest = i
    const indices = [...shape].reverse().map((length) => {
      const index = rest % length
      rest = Math.floor(rest / length)
      return index
    })
    const product = Math.fround(e4m3(code) * scale.readFloatLE(4 * scaleOf(indices.reverse())))
    result.writeUInt16LE(bf16(product), 2 * i)
  })
  return result
}

interface ReadTensor {
  readonly dtype: string
  readonly data: Buffer
}

async function read(
  path: string,
  recordBytes?: number,
): Promise<{ tensors: Map<string, ReadTensor>; model?: SafetensorsModel }> {
  const tensors = new Map<string, ReadTensor>()
  let model: SafetensorsModel | undefined
  for await (const record of safetensorsReader(path, { recordBytes })) {
    const before = tensors.get(record.name)?.data ?? Buffer.alloc(0)
    tensors.set(record.name, { dtype: record.dtype, data: Buffer.concat([before, record.data]) })
    model = record.model as SafetensorsModel
  }
  return { tensors, ...(model && { model }) }
}

void test('blocks of 128 x 128, the last ones cut; scales in another shard; all else as it is', async (t) => {
  const a = weight('a.weight', [130, 300])
  const b = weight('b.weight', [16, 16])
  const c = weight('c.weight', [256, 128])
  const plain = arbitraryTensor('d.norm.weight', 'BF16', [77])
  const aScales = scales('a.weight_scale_inv', [2, 3])
  const bScales = scales('b.weight_scale_inv', [1, 1], 5)
  const cScales = scales('c.weight_scale_inv', [2, 1], 9)
  const unscaled = weight('e.weight', [4, 4])
  const empty = weight('b.empty', [0, 128])
  const folder = t.testdir({
    'model-1.safetensors': tensorsFile([a, plain, bScales, cScales, scales('a.activation_scale', [])]),
    'model-2.safetensors': tensorsFile([unscaled, empty, b, c, aScales, scales('b.empty_scale_inv', [0, 1])]),
    'config.json': JSON.stringify(FP8),
  })
  for (const recordBytes of [1, 1024, undefined]) {
    const { tensors, model } = await read(folder, recordBytes)
    const names = ['a.weight', 'd.norm.weight', 'b.empty', 'b.weight', 'c.weight', 'e.weight']
    t.strictSame(
      model?.tensors.map(({ name }) => name),
      names,
    )
    t.strictSame(
      names.map((name) => tensors.get(name)?.dtype),
      ['BF16', 'BF16', 'BF16', 'BF16', 'BF16', 'F8_E4M3'],
    )
    const block = (width: number) => (indices: number[]) => ((indices[0] ?? 0) >> 7) * width + ((indices[1] ?? 0) >> 7)
    const same = (name: string, bytes: Uint8Array): unknown =>
      sameBytes(t, tensors.get(name)?.data ?? Buffer.alloc(0), bytes, `${name}, records of ${recordBytes ?? 'many'}`)
    same('a.weight', expected(a, aScales.bytes, block(3)))
    same('b.weight', expected(b, bScales.bytes, block(1)))
    same('c.weight', expected(c, cScales.bytes, block(1)))
    same('d.norm.weight', plain.bytes)
    same('e.weight', unscaled.bytes)
    t.strictSame(JSON.parse(Buffer.from(model?.files.get('config.json') ?? '').toString()), { hidden_size: 7 })
  }
})

void test('one scale for all, one a row, one an expert: as the converter broadcasts them', async (t) => {
  const one = weight('one.weight', [20, 30])
  const row = weight('row.weight', [20, 30])
  const expert = weight('experts.weight', [3, 20, 30])
  const rowScales = scales('row.weight_scale_inv', [20, 1])
  const expertScales = scales('experts.weight_scale_inv', [3])
  const half = { name: 'one.weight_scale_inv', dtype: 'BF16', shape: [], bytes: Buffer.from('803d', 'hex') } // 0.0625
  const file = tensorsFile([one, row, expert, half, rowScales, expertScales])
  const config = { quantization_config: { quant_method: 'fp8', weight_block_size: null } }
  const folder = t.testdir({ 'model.safetensors': file, 'config.json': JSON.stringify(config) })
  const { tensors } = await read(folder)
  const sixteenth = Buffer.alloc(4)
  sixteenth.writeFloatLE(0.0625)
  const first = ([index = 0]: number[]): number => index
  const same = (name: string, bytes: Uint8Array): unknown =>
    sameBytes(t, tensors.get(name)?.data ?? Buffer.alloc(0), bytes, name)
  same(
    'one.weight',
    expected(one, sixteenth, () => 0),
  )
  same('row.weight', expected(row, rowScales.bytes, first))
  same('experts.weight', expected(expert, expertScales.bytes, first))
})

void test('stacked experts in blocks, and a layout of compressed-tensors', async (t) => {
  const stack = weight('experts.weight', [3, 130, 140])
  const stackScales = scales('experts.weight_scale_inv', [3, 2, 2])
  const folder = t.testdir({
    'model.safetensors': tensorsFile([stack, stackScales]),
    'config.json': JSON.stringify(FP8),
  })
  const byBlock = ([e = 0, r = 0, c = 0]: number[]): number => e * 4 + (r >> 7) * 2 + (c >> 7)
  const { tensors } = await read(folder)
  sameBytes(
    t,
    tensors.get('experts.weight')?.data ?? Buffer.alloc(0),
    expected(stack, stackScales.bytes, byBlock),
    'stacked',
  )

  const row = weight('row.weight', [20, 30])
  const rowScales = scales('row.weight_scale', [20, 1])
  const weights = { num_bits: 8, type: 'float', strategy: 'channel' }
  const config = {
    quantization_config: {
      quant_method: 'compressed-tensors',
      format: 'float-quantized',
      config_groups: { group_0: { weights } },
    },
  }
  await fs.writeFile(join(folder, 'model.safetensors'), tensorsFile([row, rowScales]))
  await fs.writeFile(join(folder, 'config.json'), JSON.stringify(config))
  const other = (await read(folder)).tensors
  t.strictSame([...other.keys()], ['row.weight'])
  sameBytes(
    t,
    other.get('row.weight')?.data ?? Buffer.alloc(0),
    expected(row, rowScales.bytes, ([r = 0]) => r),
    'by row',
  )
})

void test('without a config that says so all is left as it is', async (t) => {
  const file = tensorsFile([weight('a.weight', [4, 4]), scales('a.weight_scale_inv', [1, 1])])
  const { tensors } = await read(t.testdir({ 'model.safetensors': file, 'config.json': '{}' }))
  t.strictSame([...tensors].map(([name, { dtype }]) => [name, dtype]), [['a.weight', 'F8_E4M3'], ['a.weight_scale_inv', 'F32']]) // prettier-ignore
})

void test('NaN, a product that is infinite, and scales that do not fit are refused', async (t) => {
  const folder = t.testdir({ 'config.json': JSON.stringify(FP8) })
  const refused = async (
    tensors: readonly FileTensor[],
    fields: { code: string; [field: string]: unknown },
  ): Promise<void> => {
    await fs.writeFile(join(folder, 'model.safetensors'), tensorsFile(tensors))
    await t.rejects(read(folder), fields)
  }
  const a = weight('a.weight', [4, 300])
  for (const code of [0x7f, 0xff]) {
    const bytes = Buffer.from(a.bytes)
    bytes[777] = code
    const place = { code: 'APR_BAD_VALUE', tensor: 'a.weight', element: 777 }
    await refused([{ ...a, bytes }, scales('a.weight_scale_inv', [1, 3])], place)
  }
  const infinite = Buffer.alloc(12)
  infinite.writeFloatLE(Infinity, 4)
  await refused([a, { ...scales('a.weight_scale_inv', [1, 3]), bytes: infinite }], { code: 'APR_BAD_VALUE' })
  for (const shape of [[1], [3], [3, 1], [1, 2], [1, 1, 3], []]) {
    await refused([a, scales('a.weight_scale_inv', shape)], {
      code: 'APR_BAD_INDEX',
      message: /expected scales, \[1, 3\]/,
    })
  }
  const odd = { ...scales('a.weight_scale_inv', [1, 3]), dtype: 'I32' }
  await refused([a, odd], { code: 'APR_BAD_INDEX', message: /found I32 \[1, 3\]/ })
  await fs.writeJson(join(folder, 'config.json'), {
    quantization_config: { quant_method: 'fp8', weight_block_size: [0, 128] },
  })
  await t.rejects(read(folder), { code: 'APR_BAD_METADATA', message: /size of blocks/ })
})
