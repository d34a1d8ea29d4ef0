/** Random orthogonal matrices: the same ones for the same seed. */

/** `count` matrices of `size` rows and columns, row after row. Those of seed 0 turn nothing. */
export function randomTurns(seed, count, size) {
  const still = Array.from({ length: size }, (_, row) =>
    Array.from({ length: size }, (_, column) => (row === column ? 1 : 0)),
  )
  if (seed === 0) return Array.from({ length: count }, () => still)
  const random = gaussian(seed)
  return Array.from({ length: count }, () =>
    orthogonal(Array.from({ length: size }, () => Array.from({ length: size }, random))),
  )
}

/** Gram and Schmidt's way, twice, so that what is left of one row in another is rounding. */
function orthogonal(rows) {
  for (const [i, row] of rows.entries()) {
    for (const other of [...rows.slice(0, i), ...rows.slice(0, i)]) {
      const along = dot(row, other)
      for (let k = 0; k < row.length; k++) row[k] -= along * other[k]
    }
    const length = Math.sqrt(dot(row, row))
    for (let k = 0; k < row.length; k++) row[k] /= length
  }
  return rows
}

function dot(a, b) {
  return a.reduce((sum, value, i) => sum + value * b[i], 0)
}

/** Box and Muller's way, on mulberry32. */
function gaussian(seed) {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 2 ** 32
  }
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
}
