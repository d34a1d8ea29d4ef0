/** Every block type: a new one is a row here, a row of DTYPES, a file in `blocks/` and one in `fits/`. */
import type { BlockDType, BlockType } from './block.js'
import { decodeQ2KBlock } from './blocks/q2k.js'
import { decodeQ3KBlock } from './blocks/q3k.js'
import { decodeQ4KBlock } from './blocks/q4k.js'
import { decodeQ5KBlock } from './blocks/q5k.js'
import { decodeQ6KBlock } from './blocks/q6k.js'
import { fitQ2K, fitQ4K, fitQ5K } from './fits/affine/super-block.js'
import { fitQ3KBlock } from './fits/signed/q3k.js'
import { fitQ6KBlock } from './fits/signed/q6k.js'
import { minmaxBlock } from './minmax.js'

export const BLOCK_TYPES: Readonly<Partial<Record<BlockDType, BlockType>>> = {
  Q2_K: { search: fitQ2K, decode: decodeQ2KBlock },
  Q3_K: { search: fitQ3KBlock, decode: decodeQ3KBlock },
  Q4_K: { search: fitQ4K, minmax: minmaxBlock, decode: decodeQ4KBlock },
  Q5_K: { search: fitQ5K, decode: decodeQ5KBlock },
  Q6_K: { search: fitQ6KBlock, decode: decodeQ6KBlock },
}
