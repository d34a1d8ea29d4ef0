/** Choosing dtypes within a budget of bytes. */
import { test } from 'tap'
import fc from 'fast-check'
import { pickWithin, type Candidate } from '../../../dist/recipes/budget/pick.js'

const candidate = fc.record({
  dtype: fc.constantFrom('a', 'b', 'c'),
  bytes: fc.integer({ min: 1, max: 1000 }),
  cost: fc.integer({ min: 0, max: 10_000 }).map((n) => n / 1000),
})
const tensors = fc.array(fc.array(candidate, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 })

const bytesOf = (picked: readonly Candidate[]): number => picked.reduce((sum, { bytes }) => sum + bytes, 0)
const costOf = (picked: readonly Candidate[]): number => picked.reduce((sum, { cost }) => sum + cost, 0)

/** All choices there are. */
function all(of: readonly (readonly Candidate[])[]): Candidate[][] {
  return of.reduce<Candidate[][]>((sofar, next) => sofar.flatMap((some) => next.map((one) => [...some, one])), [[]])
}

void test('what is picked is one of each, within the budget, and no upgrade that gains fits any more', (t) => {
  fc.assert(
    fc.property(tensors, fc.integer({ min: 1, max: 4000 }), (of, budget) => {
      const picked = pickWithin(of, budget)
      const least = of.reduce((sum, one) => sum + Math.min(...one.map(({ bytes }) => bytes)), 0)
      if (!picked) return least > budget
      const isOfThese = picked.every((one, i) => of[i]?.includes(one))
      const left = budget - bytesOf(picked)
      const hasNoUpgrade = of.every((candidates, i) => {
        const one = picked[i]
        return candidates.every((other) => {
          const more = other.bytes - (one?.bytes ?? 0)
          return more <= 0 || more > left || other.cost >= (one?.cost ?? 0)
        })
      })
      return isOfThese && picked.length === of.length && left >= 0 && hasNoUpgrade
    }),
    { numRuns: 3000, seed: 7 },
  )
  t.pass('for any candidates and budget')
  t.end()
})

void test('where a price of a byte finds the best choice, it is picked', (t) => {
  fc.assert(
    fc.property(tensors, fc.double({ min: -8, max: 2, noNaN: true }), (of, log) => {
      const price = Math.exp(log)
      const priced = (picked: readonly Candidate[]): number => costOf(picked) + price * bytesOf(picked)
      const best = all(of).reduce((one, other) => (priced(other) < priced(one) ? other : one))
      const picked = pickWithin(of, bytesOf(best))
      return picked !== undefined && costOf(picked) <= costOf(best) + 1e-9
    }),
    { numRuns: 2000, seed: 8 },
  )
  t.pass('no choice of as many bytes costs less')
  t.end()
})

void test('a larger budget never costs more, for real error curves', (t) => {
  const curve = (weights: number, sensitivity: number): Candidate[] =>
    [2.625, 3.4375, 4.5, 5.5, 6.5625, 8.5].map((bits) => ({
      dtype: `${bits}`,
      bytes: (weights * bits) / 8,
      cost: sensitivity * 4 ** -bits,
    }))
  const of = Array.from({ length: 40 }, (_, i) => curve(256 * (1 + ((i * 7) % 5)), 1 + ((i * 13) % 11)))
  const least = of.reduce((sum, [first]) => sum + (first?.bytes ?? 0), 0)
  let before = Infinity
  for (let budget = least; budget < 4 * least; budget += least / 50) {
    const cost = costOf(pickWithin(of, budget) ?? [])
    t.ok(cost <= before + 1e-12, `${budget}`)
    before = cost
  }
  t.equal(pickWithin(of, least - 1), undefined)
  t.end()
})
