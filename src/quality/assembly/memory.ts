/** The memory plan: every address is fixed, and JavaScript reads the exported ones from the instance. */

/** Values that A, B and IMPORTANCE hold. */
export const MAX_VALUES: i32 = 16 * 1024;

/**
 * Sums of the row that is under way, six f64 and then what each of them is less than its true value: w^2, v^2, e^2, nothing,
 * u w^2, u e^2. Behind them the greatest |e| so far, f32, and where it stands, i32.
 */
export const SUMS: usize = 1024;
export const GREATEST: usize = SUMS + 96;

/** The errors of 32 pairs. */
export const ERRORS: usize = SUMS + 256;

/** Counts by magnitude, u32: of w in two tables that take turns, so that no count waits for the one before it; then of e. */
export const BINS: i32 = 512;
export const TABLE_BYTES: usize = <usize>BINS * 4;
export const COUNTS: usize = 2048;

/** f32 values: w, v, and what each pair counts. Behind each is room for a vector that is not full. */
const ARRAY_BYTES: usize = <usize>MAX_VALUES * 4 + 64;
export const A: usize = 16 * 1024;
export const B: usize = A + ARRAY_BYTES;
export const IMPORTANCE: usize = B + ARRAY_BYTES;

/** Bytes to decode: as many as values of 16 bits take, more than any blocks. */
export const RAW: usize = IMPORTANCE + ARRAY_BYTES;

/** Where the plan ends. */
export const MEMORY_BYTES: usize = RAW + <usize>MAX_VALUES * 2 + 64;
