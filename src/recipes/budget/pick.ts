/** The dtypes that cost least, of all that stay within so many bytes. */

/** A dtype that a tensor may get. */
export interface Candidate<Name extends string = string> {
  readonly dtype: Name
  readonly bytes: number
  /** What the tensor's errors cost, in any unit that adds up. */
  readonly cost: number
}

/** Steps of the search for a price of a byte, and the exponents between which it is looked for. */
const STEPS = 80
const GREATEST = 60

/**
 * One candidate of each tensor: the sum of their bytes is at most `budget`, and the sum of their costs as small as a price of
 * a byte can make it; what that leaves over goes to the tensors that gain most by it. Deterministic.
 *
 * @param tensors the candidates of each: one at least
 * @returns undefined where even the smallest do not fit
 */
export function pickWithin<Name extends string>(
  tensors: readonly (readonly Candidate<Name>[])[],
  budget: number,
): Candidate<Name>[] | undefined {
  const useful = tensors.map(withoutDominated)
  let low = -GREATEST
  let high = GREATEST
  let best: Candidate<Name>[] | undefined
  const smallest = useful.map(([first]) => first).filter((first) => first !== undefined)
  if (smallest.length < useful.length || bytesOf(smallest) > budget) return undefined
  for (let i = 0; i < STEPS; i++) {
    const middle = (low + high) / 2
    const picked = useful.map((candidates) => cheapest(candidates, Math.exp(middle)))
    if (bytesOf(picked) <= budget) {
      best = picked
      high = middle
    } else low = middle
  }
  return upgraded(useful, best ?? smallest, budget)
}

/** Smallest first; what costs no less than a smaller one is none to take. */
function withoutDominated<Name extends string>(candidates: readonly Candidate<Name>[]): readonly Candidate<Name>[] {
  const sorted = [...candidates].sort((a, b) => a.bytes - b.bytes || a.cost - b.cost)
  const kept: Candidate<Name>[] = []
  for (const candidate of sorted) if (candidate.cost < (kept.at(-1)?.cost ?? Infinity)) kept.push(candidate)
  return kept.length > 0 ? kept : sorted.slice(0, 1)
}

/** At a price of a byte; of equals the one of fewer bytes. */
function cheapest<Name extends string>(candidates: readonly Candidate<Name>[], price: number): Candidate<Name> {
  let [best] = candidates
  for (const candidate of candidates) {
    if (best && candidate.cost + price * candidate.bytes < best.cost + price * best.bytes) best = candidate
  }
  if (!best) throw new Error('a tensor without candidates')
  return best
}

/** Takes the upgrade that gains most a byte, as long as one fits. */
function upgraded<Name extends string>(
  tensors: readonly (readonly Candidate<Name>[])[],
  picked: readonly Candidate<Name>[],
  budget: number,
): Candidate<Name>[] {
  const result = [...picked]
  let left = budget - bytesOf(result)
  for (;;) {
    let best: { readonly tensor: number; readonly to: Candidate<Name>; readonly gain: number } | undefined
    for (const [tensor, candidates] of tensors.entries()) {
      const from = result[tensor]
      for (const to of candidates) {
        if (!from || to.bytes <= from.bytes || to.bytes - from.bytes > left) continue
        const gain = (from.cost - to.cost) / (to.bytes - from.bytes)
        if (gain > (best?.gain ?? 0)) best = { tensor, to, gain }
      }
    }
    if (!best) return result
    left -= best.to.bytes - (result[best.tensor]?.bytes ?? 0)
    result[best.tensor] = best.to
  }
}

function bytesOf(candidates: readonly Candidate[]): number {
  return candidates.reduce((sum, { bytes }) => sum + bytes, 0)
}
