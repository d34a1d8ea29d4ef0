import fc from 'fast-check'
import { test } from 'tap'
import { blockBytesFor, blockCount, cutUnits, unitBytesFor } from '../../dist/parts/cut.js'

const MIB = 1024 * 1024

void test('units hold every block once, in their order, but those with bytes of the tail and the last', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 2 ** 32 }),
      (totalBytes, tail, steps, unitBytes) => {
        const tailBytes = Math.min(tail, totalBytes)
        // No more blocks than object storage takes.
        const blockBytes = Math.max(steps * 65536, Math.ceil(totalBytes / 9000 / 65536) * 65536)
        const units = cutUnits(totalBytes, tailBytes, blockBytes, unitBytes)
        let next = 0
        for (const [first, end] of units) {
          if (first !== next || end < first) return false
          next = end
        }
        const blocks = blockCount({ totalBytes, blockBytes })
        const sizes = units.map(([first, end]) => end - first)
        const isEven = Math.max(...sizes) - Math.min(...sizes) <= 1
        const isAll = next === blocks - 1 || (next + 1) * blockBytes > totalBytes - tailBytes
        return units.length > 0 && next < blocks && next * blockBytes <= totalBytes - tailBytes && isEven && isAll
      },
    ),
    { numRuns: 500 },
  )
  t.end()
})

void test('a footer that a border cuts is left to finish, with both blocks', (t) => {
  t.same(cutUnits(3 * 65536 + 2, 4, 65536, 65536), [
    [0, 1],
    [1, 2],
  ])
  t.same(cutUnits(3 * 65536 + 4, 4, 65536, 65536).at(-1), [2, 3])
  t.same(cutUnits(4, 4, 65536, 1), [[0, 0]])
  t.end()
})

void test('sizes that nobody asks for keep to what storage and engines take', (t) => {
  t.equal(blockBytesFor(1), 16 * MIB)
  t.equal(blockBytesFor(17e9), 16 * MIB)
  t.equal(blockBytesFor(381e9), 48 * MIB)
  for (const total of [1, 1e9, 381e9, 2e12, 40e12]) {
    t.ok(Math.ceil(total / blockBytesFor(total)) <= 9000)
    t.ok(cutUnits(total, 4, blockBytesFor(total), unitBytesFor(total)).length <= 1001)
  }
  t.end()
})
