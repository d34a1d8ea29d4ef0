/**
 * Interleaved timing: A B C A B C ... A slow minute of a shared machine then falls on every variant alike, so ratios
 * between them hold better than the rates themselves.
 */

/**
 * @typedef {object} Timing All in seconds.
 * @property {number} median
 * @property {number} min
 * @property {number} max
 * @property {number[]} runs In the order they were made.
 */

/**
 * Runs every variant once untimed, then all of them in turn for `rounds` rounds.
 *
 * @template {string} Name
 * @param {Record<Name, () => unknown>} variants Functions, async or not. One that resolves with a number has timed
 *   itself: that number, in seconds, counts in place of the wall time around the call.
 * @param {{ rounds: number, onRun?: (name: Name, seconds: number, round: number) => void }} options
 * @returns {Promise<Record<Name, Timing>>}
 * @throws {RangeError} when `rounds` is no positive integer.
 *
 * @example
 * const { ours, theirs } = await interleave({ ours: () => quantize(a), theirs: () => llama.quantizeSearchInto(a, 64, 4096, b) }, { rounds: 9 });
 * console.log(theirs.median / ours.median);
 */
export async function interleave(variants, { rounds, onRun }) {
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new RangeError(`expected a positive integer of rounds, found ${rounds}`)
  }
  const names = /** @type {Name[]} */ (Object.keys(variants))
  const runs = new Map(names.map((name) => [name, /** @type {number[]} */ ([])]))

  for (const name of names) await variants[name]()
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const seconds = await timeOnce(variants[name])
      runs.get(name)?.push(seconds)
      onRun?.(name, seconds, round)
    }
  }
  return /** @type {Record<Name, Timing>} */ (
    Object.fromEntries([...runs].map(([name, seconds]) => [name, summarize(seconds)]))
  )
}

/**
 * @param {number[]} seconds At least one.
 * @returns {Timing}
 */
export function summarize(seconds) {
  return { median: median(seconds), min: Math.min(...seconds), max: Math.max(...seconds), runs: seconds }
}

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** @param {() => unknown} variant */
async function timeOnce(variant) {
  const start = performance.now()
  const result = await variant()
  const seconds = (performance.now() - start) / 1000
  return typeof result === 'number' ? result : seconds
}
