/** What of its input a part of a stage's output needs: enough to make that part, and told without any data. */
import { test } from 'tap'
import fc from 'fast-check'
import type { DType, Q4KOptions, TensorInfo } from 'apr-stream'
import { RecordRuns } from '../../dist/records/record-runs.js'
import { checkOptions } from '../../dist/options/check.js'
import { Q4K_OPTIONS } from '../../dist/options/table.js'
import { Q4KQuantization } from '../../dist/streams/quantize/q4k.js'
import { filterStage, mapStage } from '../../dist/streams/tensor-stages.js'
import { arbitraryTensor } from '../helpers/files.js'

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
