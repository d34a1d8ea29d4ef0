/**
 * The fit that tries 19 scales, on the four lanes of a group. A candidate is two sums over the values, and candidates do not
 * depend on each other: three at a time share their loads, and fill the time that a chain of additions waits. Which of them
 * is taken, in their order, is decided when all their sums are there.
 */
import {
  CANDIDATE_BYTES, CANDIDATE_COUNT, CANDIDATES, CONSTANTS, ELEMENT_BYTES, ELEMENTS, EMPTY, INVERSE, OPPOSITE, SCALE, SUM_QQ,
  SUM_W, SUM_XQ, TOP, TRY_INVERSE, WEIGHT, WEIGHTED, X,
} from "./group";

// How codes are clamped: types, so that every way is compiled for itself.
type Unclamped = i8;
type Floored = i16;
type Clamped = i32;

/** How values are weighed: by their squares, by their importance u in WEIGHT, or by u * sqrt(meanSquare + x * x). */
export type Squares = i8;
export type Importance = i16;
export type ImportanceAndSize = i32;

// CONSTANTS, one vector each: the least and the greatest code, and the negated numerators of the candidates.
const LOW: usize = 0;
const HIGH: usize = 16;
const NUMERATORS: usize = 32;

/** Writes the constants of a type whose codes are from -zero to zero - 1. */
export function storeConstants(zero: f32): void {
  v128.store(CONSTANTS, f32x4.splat(-zero), LOW);
  v128.store(CONSTANTS, f32x4.splat(zero - 1), HIGH);
  for (let k = 0; k < CANDIDATE_COUNT; k++) {
    v128.store(CONSTANTS + (<usize>k << 4), f32x4.splat(negatedNumerator(k, zero)), NUMERATORS);
  }
}

/** Of the first guess, then of those beside it: from -0.9 to 0.9 codes. */
@inline
export function negatedNumerator(k: i32, zero: f32): f32 {
  const place = k == 0 ? 0 : k < 10 ? k - 10 : k - 9;
  return -(zero + <f32>0.1 * <f32>place);
}

/**
 * Weighs the values of a group, and sums its candidates.
 * @param meanSquare of the values around, for ImportanceAndSize
 * @returns sums that are finite only if every value is
 */
@inline
export function sumCandidates<By>(group: usize, elements: usize, zero: f32, meanSquare: v128): v128 {
  const top = v128.load(group, TOP);
  const first = group + CANDIDATES;
  for (let k: usize = 0; k < <usize>CANDIDATE_COUNT; k++) {
    const inverse = f32x4.div(v128.load(CONSTANTS + (k << 4), NUMERATORS), top);
    v128.store(first + k * CANDIDATE_BYTES, inverse, TRY_INVERSE);
  }
  sumFirst<By>(group, elements, meanSquare);
  // The candidates from -0.9 to -0.7 need no clamp. Those up to 0.3 need no floor, as -zero - 0.3 rounds to -zero, and
  // in most groups no cap: the one that reaches farthest tells, as all operations before the rounding are monotone.
  const farthest = v128.load(first + 18 * CANDIDATE_BYTES, TRY_INVERSE);
  const isUncapped = i32x4.all_true(
    f32x4.lt(f32x4.mul(farthest, v128.load(group, OPPOSITE)), f32x4.splat(zero - 0.5)),
  );
  const second = first + CANDIDATE_BYTES;
  if (isUncapped) {
    for (let k: usize = 0; k < 12; k += 3) sumThree<Unclamped>(group, elements, second + k * CANDIDATE_BYTES);
    for (let k: usize = 12; k < 18; k += 3) sumThree<Floored>(group, elements, second + k * CANDIDATE_BYTES);
  } else {
    sumThree<Unclamped>(group, elements, second);
    for (let k: usize = 3; k < 18; k += 3) sumThree<Clamped>(group, elements, second + k * CANDIDATE_BYTES);
  }
  return f32x4.add(v128.load(first, SUM_XQ), v128.load(first, SUM_QQ));
}

/** The first guess, and the weights. */
@inline
function sumFirst<By>(group: usize, elements: usize, meanSquare: v128): void {
  const candidate = group + CANDIDATES;
  const inverse = v128.load(candidate, TRY_INVERSE);
  const low = v128.load(CONSTANTS, LOW);
  const high = v128.load(CONSTANTS, HIGH);
  let sumXQ = f32x4.splat(0);
  let sumQQ = f32x4.splat(0);
  let sumW = f32x4.splat(0);
  const end = group + ELEMENTS + elements * ELEMENT_BYTES;
  for (let element = group + ELEMENTS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const q = code<Clamped>(x, inverse, low, high);
    const w = weight<By>(element, x, meanSquare);
    const wx = f32x4.mul(w, x);
    if (sizeof<By>() != sizeof<Importance>()) v128.store(element, w, WEIGHT);
    if (sizeof<By>() == sizeof<ImportanceAndSize>()) sumW = f32x4.add(sumW, w);
    v128.store(element, wx, WEIGHTED);
    sumXQ = f32x4.add(sumXQ, f32x4.mul(wx, q));
    sumQQ = f32x4.add(sumQQ, f32x4.mul(f32x4.mul(w, q), q));
  }
  v128.store(candidate, sumXQ, SUM_XQ);
  v128.store(candidate, sumQQ, SUM_QQ);
  v128.store(group, sumW, SUM_W);
}

@inline
function weight<By>(element: usize, x: v128, meanSquare: v128): v128 {
  if (sizeof<By>() == sizeof<Squares>()) return f32x4.mul(x, x);
  const u = v128.load(element, WEIGHT);
  if (sizeof<By>() == sizeof<Importance>()) return u;
  return f32x4.mul(u, f32x4.sqrt(f32x4.add(meanSquare, f32x4.mul(x, x))));
}

function sumThree<Clamp>(group: usize, elements: usize, candidate: usize): void {
  const a = v128.load(candidate, TRY_INVERSE);
  const b = v128.load(candidate, TRY_INVERSE + CANDIDATE_BYTES);
  const c = v128.load(candidate, TRY_INVERSE + 2 * CANDIDATE_BYTES);
  const low = v128.load(CONSTANTS, LOW);
  const high = v128.load(CONSTANTS, HIGH);
  let xqA = f32x4.splat(0);
  let qqA = f32x4.splat(0);
  let xqB = f32x4.splat(0);
  let qqB = f32x4.splat(0);
  let xqC = f32x4.splat(0);
  let qqC = f32x4.splat(0);
  const end = group + ELEMENTS + elements * ELEMENT_BYTES;
  for (let element = group + ELEMENTS; element < end; element += ELEMENT_BYTES) {
    const x = v128.load(element, X);
    const w = v128.load(element, WEIGHT);
    const wx = v128.load(element, WEIGHTED);
    const qA = code<Clamp>(x, a, low, high);
    const qB = code<Clamp>(x, b, low, high);
    const qC = code<Clamp>(x, c, low, high);
    xqA = f32x4.add(xqA, f32x4.mul(wx, qA));
    qqA = f32x4.add(qqA, f32x4.mul(f32x4.mul(w, qA), qA));
    xqB = f32x4.add(xqB, f32x4.mul(wx, qB));
    qqB = f32x4.add(qqB, f32x4.mul(f32x4.mul(w, qB), qB));
    xqC = f32x4.add(xqC, f32x4.mul(wx, qC));
    qqC = f32x4.add(qqC, f32x4.mul(f32x4.mul(w, qC), qC));
  }
  v128.store(candidate, xqA, SUM_XQ);
  v128.store(candidate, qqA, SUM_QQ);
  v128.store(candidate, xqB, SUM_XQ + CANDIDATE_BYTES);
  v128.store(candidate, qqB, SUM_QQ + CANDIDATE_BYTES);
  v128.store(candidate, xqC, SUM_XQ + 2 * CANDIDATE_BYTES);
  v128.store(candidate, qqC, SUM_QQ + 2 * CANDIDATE_BYTES);
}

/** A value's code, counted from 0. `|inverse * x|` is little more than `zero`: there `nearest` rounds as llama.cpp does. */
@inline
function code<Clamp>(x: v128, inverse: v128, low: v128, high: v128): v128 {
  let q = f32x4.nearest(f32x4.mul(inverse, x));
  if (sizeof<Clamp>() > sizeof<Unclamped>()) q = f32x4.pmax(q, low);
  if (sizeof<Clamp>() == sizeof<Clamped>()) q = f32x4.pmin(q, high);
  return q;
}

/** From their sums, finds which candidates two groups take: their SCALE and INVERSE. */
@inline
export function takeBest(left: usize, right: usize): void {
  let candidateL = left + CANDIDATES;
  let candidateR = right + CANDIDATES;
  const zero = f32x4.splat(0);
  const qqL = v128.load(candidateL, SUM_QQ);
  const qqR = v128.load(candidateR, SUM_QQ);
  const xqL = v128.load(candidateL, SUM_XQ);
  const xqR = v128.load(candidateR, SUM_XQ);
  let scaleL = v128.andnot(f32x4.div(xqL, qqL), f32x4.eq(qqL, zero));
  let scaleR = v128.andnot(f32x4.div(xqR, qqR), f32x4.eq(qqR, zero));
  let bestL = f32x4.mul(scaleL, xqL);
  let bestR = f32x4.mul(scaleR, xqR);
  let inverseL = v128.load(candidateL, TRY_INVERSE);
  let inverseR = v128.load(candidateR, TRY_INVERSE);
  for (let k = 1; k < CANDIDATE_COUNT; k++) {
    candidateL += CANDIDATE_BYTES;
    candidateR += CANDIDATE_BYTES;
    const xqL = v128.load(candidateL, SUM_XQ);
    const xqR = v128.load(candidateR, SUM_XQ);
    const qqL = v128.load(candidateL, SUM_QQ);
    const qqR = v128.load(candidateR, SUM_QQ);
    const tryL = f32x4.div(xqL, qqL);
    const tryR = f32x4.div(xqR, qqR);
    const isBetterL = isBetter(xqL, qqL, bestL, zero);
    const isBetterR = isBetter(xqR, qqR, bestR, zero);
    scaleL = v128.bitselect(tryL, scaleL, isBetterL);
    scaleR = v128.bitselect(tryR, scaleR, isBetterR);
    bestL = v128.bitselect(f32x4.mul(tryL, xqL), bestL, isBetterL);
    bestR = v128.bitselect(f32x4.mul(tryR, xqR), bestR, isBetterR);
    inverseL = v128.bitselect(v128.load(candidateL, TRY_INVERSE), inverseL, isBetterL);
    inverseR = v128.bitselect(v128.load(candidateR, TRY_INVERSE), inverseR, isBetterR);
  }
  v128.store(left, v128.andnot(scaleL, v128.load(left, EMPTY)), SCALE);
  v128.store(right, v128.andnot(scaleR, v128.load(right, EMPTY)), SCALE);
  v128.store(left, inverseL, INVERSE);
  v128.store(right, inverseR, INVERSE);
}

@inline
function isBetter(xq: v128, qq: v128, best: v128, zero: v128): v128 {
  return v128.and(f32x4.gt(f32x4.mul(xq, xq), f32x4.mul(best, qq)), f32x4.gt(qq, zero));
}
