/**
 * Sums and counts over pairs of f32 values w and v, e = v - w. Products are exact in f64; 32 pairs of a row are summed in four
 * lanes, and such sums with what each addition loses: so it does not matter where a row is cut, as long as it is at a
 * multiple of 32.
 */
import { A, B, COUNTS, ERRORS, GREATEST, IMPORTANCE, SUMS, TABLE_BYTES } from "./memory";

const GROUP: i32 = 32;
/** Where the parts stand that additions have lost. */
const LOST: usize = 48;

/**
 * Adds pairs that stand in one row to its sums, and to the counts.
 * @param first of the pairs, in A and B
 * @param inRow where the first stands in its row
 * @returns -1; or the first of a group of at most 32 of which one value is NaN or infinite: all before it are added
 */
export function measure(first: i32, count: i32, inRow: i32, isWeighted: i32): i32 {
  const end = first + count;
  let size = GROUP - (inRow & (GROUP - 1));
  while (first < end) {
    if (size > end - first) size = end - first;
    const isDone = isWeighted ? group(first, size, true) : group(first, size, false);
    if (!isDone) return first;
    first += size;
    size = GROUP;
  }
  return -1;
}

/** Returns false, and adds nothing, where a value is not finite. */
@inline
function group(first: i32, size: i32, isWeighted: bool): bool {
  const start = (<usize>first) << 2;
  let w2 = f64x2.splat(0);
  let w2High = f64x2.splat(0);
  let v2 = f64x2.splat(0);
  let v2High = f64x2.splat(0);
  let e2 = f64x2.splat(0);
  let e2High = f64x2.splat(0);
  let uw2 = f64x2.splat(0);
  let uw2High = f64x2.splat(0);
  let ue2 = f64x2.splat(0);
  let ue2High = f64x2.splat(0);
  let greatest = f32x4.splat(0);
  for (let i: i32 = 0; i < size; i += 4) {
    const at = start + ((<usize>i) << 2);
    let a = v128.load(A + at);
    let b = v128.load(B + at);
    if (size - i < 4) {
      // Zeros change no sum.
      const mask = tail(size - i);
      a = v128.and(a, mask);
      b = v128.and(b, mask);
    }
    const e = f32x4.sub(b, a);
    v128.store(ERRORS + ((<usize>i) << 2), e);
    greatest = f32x4.pmax(greatest, f32x4.abs(e));
    const w = f64x2.promote_low_f32x4(a);
    const v = f64x2.promote_low_f32x4(b);
    const wHigh = f64x2.promote_low_f32x4(v128.shuffle<i32>(a, a, 2, 3, 2, 3));
    const vHigh = f64x2.promote_low_f32x4(v128.shuffle<i32>(b, b, 2, 3, 2, 3));
    const d = f64x2.sub(v, w);
    const dHigh = f64x2.sub(vHigh, wHigh);
    const ww = f64x2.mul(w, w);
    const wwHigh = f64x2.mul(wHigh, wHigh);
    const dd = f64x2.mul(d, d);
    const ddHigh = f64x2.mul(dHigh, dHigh);
    w2 = f64x2.add(w2, ww);
    w2High = f64x2.add(w2High, wwHigh);
    v2 = f64x2.add(v2, f64x2.mul(v, v));
    v2High = f64x2.add(v2High, f64x2.mul(vHigh, vHigh));
    e2 = f64x2.add(e2, dd);
    e2High = f64x2.add(e2High, ddHigh);
    if (isWeighted) {
      const u = v128.load(IMPORTANCE + at);
      const low = f64x2.promote_low_f32x4(u);
      const high = f64x2.promote_low_f32x4(v128.shuffle<i32>(u, u, 2, 3, 2, 3));
      uw2 = f64x2.add(uw2, f64x2.mul(low, ww));
      uw2High = f64x2.add(uw2High, f64x2.mul(high, wwHigh));
      ue2 = f64x2.add(ue2, f64x2.mul(low, dd));
      ue2High = f64x2.add(ue2High, f64x2.mul(high, ddHigh));
    }
  }
  const w2v2 = both(f64x2.add(w2, w2High), f64x2.add(v2, v2High));
  const e2Both = both(f64x2.add(e2, e2High), f64x2.splat(0));
  // No finite f32 has a square that f64 does not hold: what is not finite here comes of what was not there.
  if (v128.any_true(f64x2.ne(f64x2.sub(w2v2, w2v2), f64x2.splat(0)))) return false;
  add(SUMS, w2v2);
  add(SUMS + 16, e2Both);
  if (isWeighted) add(SUMS + 32, both(f64x2.add(uw2, uw2High), f64x2.add(ue2, ue2High)));
  const greatestHere = v128.any_true(f32x4.gt(greatest, v128.load32_splat(GREATEST)));
  if (greatestHere) findGreatest(first, size);
  count(start, size);
  return true;
}

/** The sum of the lanes of `a`, and of `b`. */
@inline
function both(a: v128, b: v128): v128 {
  return f64x2.add(v128.shuffle<i64>(a, b, 0, 2), v128.shuffle<i64>(a, b, 1, 3));
}

@inline
function tail(values: i32): v128 {
  return i32x4.gt_s(i32x4.splat(values), i32x4(0, 1, 2, 3));
}

/** Adds to two sums and notes exactly what the addition loses. */
@inline
function add(sums: usize, x: v128): void {
  const sum = v128.load(sums);
  const next = f64x2.add(sum, x);
  const part = f64x2.sub(next, sum);
  const lost = f64x2.add(f64x2.sub(sum, f64x2.sub(next, part)), f64x2.sub(x, part));
  v128.store(sums, next);
  v128.store(sums + LOST, f64x2.add(v128.load(sums + LOST), lost));
}

/** Seldom: the greatest error so far is found a few times a tensor. */
function findGreatest(first: i32, size: i32): void {
  for (let i: i32 = 0; i < size; i++) {
    const e = abs<f32>(load<f32>(ERRORS + ((<usize>i) << 2)));
    if (e <= load<f32>(GREATEST)) continue;
    store<f32>(GREATEST, e);
    store<i32>(GREATEST + 4, first + i);
  }
}

/** Counts each w and e by the bits above the 22 lowest, without the sign. */
@inline
function count(start: usize, size: i32): void {
  const end = (<usize>size & ~1) << 2;
  let i: usize = 0;
  for (; i < end; i += 8) {
    const two = load<u64>(A + start + i);
    const twoErrors = load<u64>(ERRORS + i);
    tally(COUNTS, <usize>((two << 33) >> 55));
    tally(COUNTS + TABLE_BYTES, <usize>((two << 1) >> 55));
    tally(COUNTS + 2 * TABLE_BYTES, <usize>((twoErrors << 33) >> 55));
    tally(COUNTS + 3 * TABLE_BYTES, <usize>((twoErrors << 1) >> 55));
  }
  if (size & 1) {
    tally(COUNTS, <usize>((load<u32>(A + start + i) << 1) >> 23));
    tally(COUNTS + 2 * TABLE_BYTES, <usize>((load<u32>(ERRORS + i) << 1) >> 23));
  }
}

@inline
function tally(table: usize, bin: usize): void {
  const place = table + (bin << 2);
  store<u32>(place, load<u32>(place) + 1);
}
