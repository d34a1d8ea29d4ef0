/** Figures of pairs of values, against plain sums in f64. */
import { test, type Test } from 'tap'
import type { DType } from 'apr-stream'
import { measured } from '../../dist/quality/figures.js'
import { Meter } from '../../dist/quality/meter.js'
import { tallyPairs } from '../../dist/quality/pairs.js'
import { addTally, newTally, rowsOfTensor, type Rows, type Tally } from '../../dist/quality/tally.js'
import { binEdge } from '../../dist/quality/report-data.js'
import { randomBits } from '../helpers/random.js'

const meter = new Meter()

const rowsOf = (shape: number[]): Rows => rowsOfTensor({ name: 't', dtype: 'F32', shape, size: 0 })

function randomValues(count: number, seed: number, scale = 1): Float32Array {
  const next = randomBits(seed)
  const uniform = (): number => next() / 2 ** 32 - 0.5
  return Float32Array.from({ length: count }, () => (uniform() + uniform() + uniform()) * scale)
}

interface Values {
  readonly a: Float32Array
  readonly b: Float32Array
  readonly importance?: Float32Array | undefined
}

function tallied({ a, b, importance }: Values, rows: Rows, first = 0, end = a.length): Tally {
  const slice = (values: Float32Array): { dtype: DType; data: Uint8Array; firstBlock: number } => ({
    dtype: 'F32',
    data: new Uint8Array(values.slice(first, end).buffer),
    firstBlock: first,
  })
  const matrixElements = rows.columns * rows.matrixRows
  const inMatrix = first % matrixElements
  const matrix = Math.floor(first / matrixElements)
  const values = importance?.slice(matrix * rows.columns)
  const run = values && { values, matrixElements, inMatrix }
  return tallyPairs(meter, { first, elements: end - first, rows, a: slice(a), b: slice(b), importance: run })
}

/** Relative, or where nothing is expected absolute. */
function near(t: Test, found: number | null | undefined, expected: number, what: string): void {
  const difference = Math.abs((found ?? NaN) - expected) / (Math.abs(expected) || 1)
  t.ok(difference <= 1e-12, `${what}: ${String(found)}, expected ${expected}`)
}

void test('sums, rows, experts, the greatest error and histograms are those of plain loops', (t) => {
  for (const shape of [[7, 300], [3, 5, 96], [1000], [40, 33], [9, 4], [2, 20000]]) {
    const rows = rowsOf(shape)
    const count = shape.reduce((product, size) => product * size, 1)
    const a = randomValues(count, 1)
    const noise = randomValues(count, 2, 0.05)
    const b = a.map((w, i) => w + (noise[i] ?? 0))
    const importance = randomValues(rows.columns * rows.matrices, 3).map(Math.abs)
    const figures = measured(tallied({ a, b, importance }, rows), true, false)
    let [w2, v2, wv, e2, uw2, ue2, greatest, at] = [0, 0, 0, 0, 0, 0, -1, 0]
    const rowSums = Array.from({ length: count / rows.columns }, () => [0, 0])
    const bins = new Map<number, number>()
    a.forEach((w, i) => {
      const v = b[i] ?? 0
      const e = v - w
      const matrix = Math.floor(i / (rows.columns * rows.matrixRows))
      const u = importance[matrix * rows.columns + (i % rows.columns)] ?? 0
      ;[w2, v2, wv, e2] = [w2 + w * w, v2 + v * v, wv + w * v, e2 + e * e]
      ;[uw2, ue2] = [uw2 + u * w * w, ue2 + u * e * e]
      if (Math.abs(Math.fround(e)) > greatest) [greatest, at] = [Math.abs(Math.fround(e)), i]
      const row = rowSums[Math.floor(i / rows.columns)] as [number, number]
      row[0] += w * w
      row[1] += e * e
      const magnitude = Math.abs(w)
      const octave = Math.floor(Math.log2(magnitude))
      const bin = 2 * (octave + 127) + (magnitude >= 1.5 * 2 ** octave ? 1 : 0)
      bins.set(bin, (bins.get(bin) ?? 0) + 1)
    })
    const name = `[${shape.join(', ')}]`
    const expected = { w2, v2, wv, e2, uw2, ue2 }
    for (const [key, value] of Object.entries(expected))
      near(t, figures[key as keyof typeof expected], value, `${name} ${key}`)
    near(t, figures.relativeError, Math.sqrt(e2 / w2), `${name} relative error`)
    near(t, figures.weightedError, Math.sqrt(ue2 / uw2), `${name} weighted error`)
    near(t, figures.snr, 10 * Math.log10(uw2 / ue2), `${name} SNR`)
    near(t, figures.cosine, wv / Math.sqrt(w2 * v2), `${name} cosine`)
    t.equal(figures.maxError?.element, at, `${name} place of the greatest`)
    t.equal(figures.maxError?.error, Math.abs((b[at] ?? 0) - (a[at] ?? 0)))
    const snrs = rowSums.map(([w = 0, e = 0], row) => ({ row, snr: 10 * Math.log10(w / e) }))
    snrs.sort((one, other) => one.snr - other.snr)
    t.same(
      figures.worstRows.map(({ row }) => row),
      snrs.slice(0, 4).map(({ row }) => row),
      `${name} worst rows`,
    )
    near(t, figures.worstRows[0]?.snr, snrs[0]?.snr ?? 0, `${name} worst row`)
    const { first, counts } = figures.magnitudes
    t.same(
      counts,
      counts.map((_, i) => bins.get(first + i) ?? 0),
      `${name} histogram`,
    )
    t.equal(
      counts.reduce((sum, n) => sum + n, 0),
      count,
    )
    t.equal(figures.experts?.count, rows.matrices > 1 ? rows.matrices : undefined)
  }
  t.end()
})

void test('the same figures to the last bit, wherever a tensor is cut and in whatever order its parts come', (t) => {
  const shape = [3, 17, 320]
  const rows = rowsOf(shape)
  const count = 3 * 17 * 320
  const a = randomValues(count, 4)
  const b = a.map((w) => Math.round(w * 16) / 16)
  const importance = randomValues(3 * 320, 5).map(Math.abs)
  const whole = measured(tallied({ a, b, importance }, rows), true, true)
  const next = randomBits(6)
  for (let round = 0; round < 30; round++) {
    const cuts = new Set([0, count])
    while (cuts.size < 2 + (round % 12)) cuts.add((next() % (count / 32)) * 32)
    const sorted = [...cuts].sort((one, other) => one - other)
    const parts = sorted.slice(1).map((end, i) => tallied({ a, b, importance }, rows, sorted[i], end))
    const sum = newTally()
    for (const part of parts.sort(() => (next() % 2) - 0.5)) addTally(sum, part, rows)
    t.same(sum.openRows, [])
    t.same(measured(sum, true, true), whole, `${parts.length} parts`)
  }
  t.end()
})

void test('NaN and infinity are left out, counted, and the first of them is told', (t) => {
  const count = 1000
  const a = randomValues(count, 7)
  const b = a.slice()
  ;[a[700], a[701], b[333], b[701]] = [NaN, Infinity, -Infinity, NaN]
  const figures = measured(tallied({ a, b }, rowsOf([10, 100])), false, false)
  t.same(figures.notFinite, { inA: 2, inB: 2, element: 333, w: a[333], v: '-Infinity' })
  t.equal(figures.weights, count - 3)
  t.equal(figures.e2, 0)
  const expected = a.reduce((sum, w, i) => (Number.isFinite(w) && Number.isFinite(b[i]) ? sum + w * w : sum), 0)
  near(t, figures.w2, expected, 'sum of the others')
  t.match(JSON.stringify(figures), '"v":"-Infinity"')
  t.end()
})

void test('zeros, a tensor without elements, and two that are the same', (t) => {
  const zeros = new Float32Array(512)
  const ones = zeros.map(() => 1)
  const rows = rowsOf([2, 256])
  const same = measured(tallied({ a: ones, b: ones }, rows), false, true)
  t.match(same, { relativeError: 0, snr: null, cosine: 1, worstRows: [], lostBlocks: 0 })
  t.same(same.rowSnr, { first: 63, counts: [2] })
  const lost = measured(tallied({ a: ones, b: zeros }, rows), false, true)
  t.match(lost, { relativeError: 1, snr: 0, cosine: null })
  const made = measured(tallied({ a: zeros, b: ones }, rows), false, true)
  t.match(made, { relativeError: null, snr: null, cosine: null, magnitudes: { counts: [] } })
  t.match(made.worstRows, [{ row: 0, snr: null, relativeError: null }])
  t.match(measured(undefined, false, false), {
    weights: 0,
    relativeError: 0,
    snr: null,
    maxError: null,
    outlierShare: 0,
  })
  t.end()
})

void test('numbers from the smallest to the largest that f32 has are summed', (t) => {
  const a = Float32Array.of(3e38, -3e38, 1e-30, 1e-45, -0, 1)
  const b = Float32Array.of(-3e38, 3e38, 2e-30, 0, 0, 1)
  const figures = measured(tallied({ a, b }, rowsOf([6])), false, false)
  const e2 = 2 * ((a[0] ?? 0) * 2) ** 2
  near(t, figures.e2, e2, 'sum of squares')
  t.ok(figures.maxError?.error === 2 * (a[0] ?? 0), 'the greatest error is more than f32 holds')
  t.end()
})

void test('half octaves: their lower edges', (t) => {
  t.equal(binEdge(254), 1)
  t.equal(binEdge(255), 1.5)
  t.equal(binEdge(256), 2)
  t.end()
})
