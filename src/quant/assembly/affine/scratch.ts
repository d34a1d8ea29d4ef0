/** Where the fits of scale and min keep what they work on. See `memory.ts` for what surrounds it. */
import { SCRATCH } from "../memory";

/** Eight groups, see `group.ts`. */
export const GROUPS: usize = SCRATCH;
export const GROUP_BYTES: usize = 1792;
/** What up to 16 scales decode to, f32 each, and behind them what the mins do. */
export const DECODED: usize = GROUPS + 8 * GROUP_BYTES;
export const DECODED_MINS: usize = 64;
/** Constant vectors, see `clamp.ts`. */
export const CLAMPS: usize = DECODED + 128;
/** Scales and mins under way to whole numbers, their weights, these numbers, and the factors; see `scales.ts`. */
export const VALUES: usize = CLAMPS + 64;
export const VALUE_WEIGHTS: usize = VALUES + 256;
export const CODES: usize = VALUE_WEIGHTS + 256;
export const FACTORS: usize = CODES + 256;
