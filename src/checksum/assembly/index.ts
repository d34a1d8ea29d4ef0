/**
 * Folds a message by a sparse multiple of CRC-32's polynomial P: what is left of a message of any length is 4,800 bytes
 * with the same remainder, and the work is four exclusive ors for 16 bytes, no tables and no carry-less product.
 *
 * P divides Q(x) = x^300 + x^155 + x^117 + x^89 + 1, of all its multiples with five terms the one of least degree. Over
 * GF(2) a square is taken term by term, so P divides Q(x)^128 = Q(x^128) too: the same five terms, with y = x^128 for x, and
 * to multiply by y is to move by one vector of 128 bits. So with M[i] the message's vectors,
 *
 *     C[i] = M[i] + C[i - 145] + C[i - 183] + C[i - 211] + C[i - 300]
 *
 * divides by Q(y): M * y^300 has the remainder that the last 300 of the C leave. (Sam Russell's "Chorba" divides by sparse
 * multiples in the same way, on 64-bit words.)
 */

/** Vectors that are looked back on, and their bytes. */
const LAGS: usize = 300;
const VECTOR: usize = 16;
export const STATE_BYTES: usize = LAGS * VECTOR;

/** The last 300 vectors of C, and behind them what `fold` takes. The first KiB stays unused. */
export const STATE: usize = 1024;
export const DATA: usize = STATE + STATE_BYTES;
export const DATA_BYTES: usize = 256 * 1024;

/** For short data, slicing by 16: table k gives the remainder of a byte that k zero bytes follow. */
const SLICES: usize = 16;
const TABLE_BYTES: usize = 256 * 4;
const TABLES: usize = DATA + DATA_BYTES;
export const MEMORY_BYTES: usize = TABLES + SLICES * TABLE_BYTES;

/** Fills the tables: once, before anything else. */
export function prepare(): void {
  for (let byte: u32 = 0; byte < 256; byte++) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
    store<u32>(TABLES + byte * 4, remainder);
  }
  for (let slice: usize = 1; slice < SLICES; slice++) {
    for (let byte: usize = 0; byte < 256; byte++) {
      const before = load<u32>(TABLES + (slice - 1) * TABLE_BYTES + byte * 4);
      store<u32>(TABLES + slice * TABLE_BYTES + byte * 4, (before >>> 8) ^ entry(0, before));
    }
  }
}

/** The CRC's register after the first `bytes` of DATA. */
export function update(register: u32, bytes: usize): u32 {
  const end = DATA + bytes;
  let i = DATA;
  for (; i + SLICES <= end; i += SLICES) {
    const near = word(12, load<u32>(i) ^ register) ^ word(8, load<u32>(i, 4));
    register = near ^ word(4, load<u32>(i, 8)) ^ word(0, load<u32>(i, 12));
  }
  for (; i < end; i++) register = (register >>> 8) ^ entry(0, register ^ load<u8>(i));
  return register;
}

/** The remainder of four bytes that `slice` bytes follow. */
@inline
function word(slice: usize, bytes: u32): u32 {
  const low = entry(slice + 3, bytes) ^ entry(slice + 2, bytes >>> 8);
  return low ^ entry(slice + 1, bytes >>> 16) ^ entry(slice, bytes >>> 24);
}

@inline
function entry(slice: usize, byte: u32): u32 {
  return load<u32>(TABLES + slice * TABLE_BYTES + ((<usize>(byte & 255)) << 2));
}

/** Starts a message. */
export function begin(): void {
  memory.fill(STATE, 0, STATE_BYTES);
}

/** Folds the first `bytes` of DATA, a multiple of 16, into STATE. What stands in DATA is lost. */
export function fold(bytes: usize): void {
  const end = STATE + bytes;
  const fours = STATE + (bytes & ~63);
  let i = STATE;
  for (; i < fours; i += 4 * VECTOR) {
    divide(i);
    divide(i + VECTOR);
    divide(i + 2 * VECTOR);
    divide(i + 3 * VECTOR);
  }
  for (; i < end; i += VECTOR) divide(i);
  memory.copy(STATE, STATE + bytes, STATE_BYTES);
}

/** Puts at DATA the 4,800 bytes whose remainder is that of the message times y^300. */
export function end(): void {
  memory.fill(DATA, 0, STATE_BYTES);
  for (let i: usize = 0; i < STATE_BYTES; i += VECTOR) {
    // Beyond the message there is no C: of what stands at DATA only what came from before counts.
    let sum = v128.load(STATE + i);
    if (i < 211 * VECTOR) sum = v128.xor(sum, v128.load(STATE + i, (LAGS - 211) * VECTOR));
    if (i < 183 * VECTOR) sum = v128.xor(sum, v128.load(STATE + i, (LAGS - 183) * VECTOR));
    if (i < 145 * VECTOR) sum = v128.xor(sum, v128.load(STATE + i, (LAGS - 145) * VECTOR));
    v128.store(DATA + i, sum);
  }
}

/** Makes the vector at `i + 300` one of C. */
@inline
function divide(i: usize): void {
  const near = v128.xor(v128.load(i, (LAGS - 145) * VECTOR), v128.load(i, (LAGS - 183) * VECTOR));
  const far = v128.xor(v128.load(i, (LAGS - 211) * VECTOR), v128.load(i));
  v128.store(i, v128.xor(v128.xor(near, far), v128.load(i, LAGS * VECTOR)), LAGS * VECTOR);
}
