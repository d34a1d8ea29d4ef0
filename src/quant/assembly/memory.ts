/**
 * The memory plan. The module allocates nothing: every address below is fixed, and JavaScript reads the exported ones
 * from the instance. All are multiples of 64 bytes, a cache line.
 */

/** Elements of a super-block, and of each of its 8 sub-blocks. */
export const BLOCK_ELEMENTS: i32 = 256;
export const SUB_BLOCK_ELEMENTS: i32 = 32;

/** Super-blocks that INPUT and OUTPUT hold: 64 Ki weights, 256 KiB of f32; all of it stays in a second-level cache. */
export const MAX_BLOCKS: i32 = 256;

export const BLOCK_INPUT_BYTES: usize = 1024; // 256 f32
export const SUB_BLOCK_INPUT_BYTES: usize = 128; // 32 f32
export const BLOCK_OUTPUT_BYTES: usize = 144;
/** Bytes that 256 values become at the most: those of Q8_0. */
const MAX_OUTPUT_BYTES: usize = 272;

/** The first KiB stays unused, so that a stray address 0 overwrites nothing. Scratch areas follow, up to INPUT; the
 * fits share them, since only one runs at a time. */
export const SCRATCH: usize = 1024;

/** "minmax": 8 scales and mins and what belongs to them, of 8 super-blocks, see `minmax-values.ts`. */
export const SCALES: usize = SCRATCH;
/** Blocks of 32: what `small/scales.ts` finds of 64 of them. */
export const SMALL_SCALES: usize = SCRATCH;
/** `reduce.ts`, behind either: by lanes, the least of four times 32 values and the greatest of each, a vector each. */
export const PARTS: usize = SCRATCH + 8 * 1024;
/** Levels of IQ4_NL and IQ4_XS: two tables; 8 scales and what belongs to them; a group of 4 KiB, see `small/`. */
export const LEVEL_TABLES: usize = SCRATCH;
export const LEVEL_SCALES: usize = LEVEL_TABLES + 64;
export const LEVEL_GROUPS: usize = LEVEL_SCALES + 64;

/** f32 values to fit: MAX_BLOCKS * 1024 bytes. */
export const INPUT: usize = 64 * 1024;

/** Packed blocks. */
export const OUTPUT: usize = INPUT + <usize>MAX_BLOCKS * BLOCK_INPUT_BYTES;

/** f16 or bf16 values to widen: MAX_BLOCKS * 512 bytes. */
export const RAW: usize = OUTPUT + <usize>MAX_BLOCKS * MAX_OUTPUT_BYTES;

/** One f32 a value of INPUT: what errors count there. */
export const IMPORTANCE: usize = RAW + <usize>MAX_BLOCKS * 512;

/** One f32 for every 32 values of INPUT: the mean square of the whole row. */
export const ROW_MEAN_SQUARES: usize = IMPORTANCE + <usize>MAX_BLOCKS * BLOCK_INPUT_BYTES;

/** Where the plan ends: the least memory that the host must provide. */
export const MEMORY_BYTES: usize = ROW_MEAN_SQUARES + <usize>MAX_BLOCKS * 32;
