/** What of its input a part of a stage's output needs: enough to make that part, and told without any data. */
import type { Duplex } from 'node:stream'
import { test } from 'tap'
import fc from 'fast-check'
import { recipe, safetensorsReader, toGguf } from 'apr-stream'
import type { DType, Model, Q4KOptions, RecipeOptions, TensorInfo, TensorRecord, ToGgufOptions } from 'apr-stream'
import { RecordRuns } from '../../dist/records/record-runs.js'
import { checkOptions } from '../../dist/options/check.js'
import { Q4K_OPTIONS, RECIPE_OPTIONS, TO_GGUF_OPTIONS } from '../../dist/options/table.js'
import { ggufConversion } from '../../dist/streams/convert/to-gguf.js'
import { Q4KQuantization } from '../../dist/streams/quantize/q4k.js'
import { openRecipe } from '../../dist/streams/quantize/recipe.js'
import type { TensorRange } from '../../dist/streams/stage.js'
import { filterStage, mapStage } from '../../dist/streams/tensor-stages.js'
import { arbitraryTensor, run } from '../helpers/files.js'
import { goldenFolder } from '../helpers/golden-hf.js'
import { randomBits } from '../helpers/random.js'

const model = (tensors: readonly TensorInfo[]) => {
  return { format: 'apr', tensors, metadata: '{}', flags: 0, minorVersion: 0, reserved: new Uint8Array(20) } as const
}
const info = ({ name, dtype, shape, size }: TensorInfo): TensorInfo => ({ name, dtype, shape, size })

void test('stages that keep the bytes need the same bytes, under the names that they had', (t) => {
  const tensors = [info(arbitraryTensor('a', 'F32', [3, 300])), info(arbitraryTensor('b', 'F16', [7]))]
  const range = [{ name: 'a', start: 10, end: 20 }]
  t.strictSame(filterStage(() => true).needs(range, model(tensors)), range)
  const renamed = mapStage(({ name }) => ({ name: `new.${name}` }))
  t.strictSame(renamed.needs([{ name: 'new.a', start: 10, end: 20 }], model(tensors)), range)
  t.end()
})

void test('the bytes that a quantization needs hold every element of the part, and few more', (t) => {
  const dtypes = fc.constantFrom<DType>('F32', 'F16', 'BF16', 'F64', 'APR_Q8', 'APR_Q4', 'I32', 'Q6_K')
  const shapes = fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(1, 32, 255, 256, 300, 512)),
    fc.tuple(fc.nat(2000)),
  )
  fc.assert(
    fc.property(
      dtypes,
      shapes,
      fc.boolean(),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.nat(400),
      (dtype, shape, isSelected, at, length) => {
        const stored = arbitraryTensor('w', dtype, shape)
        const options: Q4KOptions = { select: () => isSelected, kept: 'f32' }
        const from = info(stored)
        const quantization = new Q4KQuantization(checkOptions(options, Q4K_OPTIONS))
        const { to } = quantization.targetOf(from, model([from]))
        const start = Math.floor(at * to.size)
        const end = Math.min(to.size, start + length)
        const needed = quantization.needs([{ name: 'w', start, end }], model([from]))
        if (to === from) return JSON.stringify(needed) === JSON.stringify([{ name: 'w', start, end }])
        // The runs of the whole tensor say which elements each byte of the result comes from.
        const head = dtype === 'APR_Q8' ? 4 : 0
        const bytesOf = (element: number): number =>
          dtype === 'APR_Q4'
            ? Math.floor(element / 32) * 18
            : head + element * { F32: 4, F16: 2, BF16: 2, F64: 8, APR_Q8: 1 }[dtype as 'F32']
        const holds = (byte: number): boolean => needed.some((part) => part.start <= byte && byte < part.end)
        const runs = new RecordRuns().of(
          { ...from, offset: 0, data: stored.bytes, model: model([from]) },
          stored.bytes,
          to,
        )
        return runs.every(({ run, first, offset }) => {
          const row = to.dtype === 'Q4_K' ? run.rowElements : Infinity
          for (let i = 0; i < run.elements; i++) {
            const inRow = (first + i) % row
            const block =
              to.dtype === 'Q4_K' ? Math.floor((first + i) / row) * Math.ceil(row / 256) + Math.floor(inRow / 256) : 0
            const [low, high] =
              to.dtype === 'Q4_K' ? [block * 144, (block + 1) * 144] : [offset + i * 4, offset + i * 4 + 4]
            if (high > start && low < end && !holds(bytesOf(first + i))) return false
          }
          return needed.every((part) => part.start <= part.end && part.end <= from.size)
        })
      },
    ),
    { numRuns: 1500, seed: 1 },
  )
  t.pass('for every dtype, shape and part')
  t.end()
})

// Rows of heads that change their places, experts that are stacked, blocks of 32 that need the row for their importance.
for (const [name, pre] of [
  ['Golden-Llama-3.2-Instruct', 'llama-bpe'],
  ['mixtral-eight', 'tekken'],
] as const) {
  void test(`the parts of ${name} as Q4_K_M are made of nothing but the bytes that they need`, async (t) => {
    const folder = goldenFolder(name)
    const imatrix = `test/fixtures/hf/small/imatrix/${name}/imatrix.gguf`
    const types = { attn_output: 'Q5_0' } as const
    const stages = () => [toGguf({ pre }), recipe('Q4_K_M', { imatrix, types })]
    const whole = await bytesOf(folder, () => true, stages())
    const conversion = await ggufConversion(
      checkOptions<ToGgufOptions, typeof TO_GGUF_OPTIONS>({ pre }, TO_GGUF_OPTIONS),
      whole.source,
    )
    const options = checkOptions<RecipeOptions, typeof RECIPE_OPTIONS>({ imatrix, types }, RECIPE_OPTIONS)
    const quantization = await openRecipe('Q4_K_M', options)
    const converted = conversion.derive(whole.source)
    const next = randomBits(5)
    const targets = quantization.derive(converted).tensors.filter(({ size }) => size > 0)
    const weighted = targets
      .filter(({ dtype }) => dtype === 'Q5_0')
      .flatMap((target) => [target, target, target, target])
    for (const target of [...targets, ...weighted]) {
      const start = next() % target.size
      const end = Math.min(target.size, start + 1 + (next() % 5000))
      const needed = conversion.needs(quantization.needs([{ name: target.name, start, end }], converted), whole.source)
      const part = await bytesOf(folder, isIn(needed), stages())
      const same = Buffer.compare(
        part.tensors.get(target.name)?.subarray(start, end) ?? Buffer.alloc(0),
        whole.tensors.get(target.name)?.subarray(start, end) ?? Buffer.alloc(1),
      )
      t.equal(same, 0, `${target.name}, bytes ${start} to ${end}`)
    }
    await quantization.close()
  })
}

type IsNeeded = (name: string, byte: number) => boolean

function isIn(ranges: readonly TensorRange[]): IsNeeded {
  return (name, byte) => ranges.some((range) => range.name === name && range.start <= byte && byte < range.end)
}

/** What the stages make of a folder all of whose other bytes are zeros, by tensor. */
async function bytesOf(
  folder: string,
  isNeeded: IsNeeded,
  stages: readonly Duplex[],
): Promise<{ source: Model; tensors: ReadonlyMap<string, Buffer> }> {
  const tensors = new Map<string, Buffer>()
  let source: Model | undefined
  async function* onlyNeeded(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      source = record.model
      const data = Uint8Array.from(record.data, (byte, i) => (isNeeded(record.name, record.offset + i) ? byte : 0))
      yield { ...record, data }
    }
  }
  async function collect(records: AsyncIterable<TensorRecord>): Promise<void> {
    for await (const { name, size, offset, data } of records) {
      const bytes = tensors.get(name) ?? Buffer.alloc(size)
      tensors.set(name, bytes)
      bytes.set(data, offset)
    }
  }
  await run([safetensorsReader(folder), onlyNeeded, ...stages, collect])
  if (!source) throw new Error('no record came')
  return { source, tensors }
}
