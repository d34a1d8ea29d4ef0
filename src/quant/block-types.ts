/** Every block type: a new one is a row here, a row of DTYPES, a file in `blocks/` and one in `fits/`. */
import type { BlockDType, BlockType } from './block.js'
import { decodeIQ4NLBlock, decodeIQ4XSBlock } from './blocks/iq4.js'
import { decodeQ2KBlock } from './blocks/q2k.js'
import { decodeQ3KBlock } from './blocks/q3k.js'
import { decodeQ4_0Block } from './blocks/q4_0.js'
import { decodeQ4_1Block } from './blocks/q4_1.js'
import { decodeQ4KBlock } from './blocks/q4k.js'
import { decodeQ5_0Block } from './blocks/q5_0.js'
import { decodeQ5_1Block } from './blocks/q5_1.js'
import { decodeQ5KBlock } from './blocks/q5k.js'
import { decodeQ6KBlock } from './blocks/q6k.js'
import { decodeQ8_0Block } from './blocks/q8_0.js'
import { fitQ2K, fitQ4K, fitQ5K } from './fits/affine/super-block.js'
import { refineQ2K, refineQ4K, refineQ5K } from './fits/refined/affine.js'
import { refineQ3K, refineQ6K } from './fits/refined/signed.js'
import { fitQ3KBlock } from './fits/signed/q3k.js'
import { fitQ6KBlock } from './fits/signed/q6k.js'
import { fitQ4_1Block, fitQ5_1Block } from './fits/small/affine.js'
import { fitIQ4NLBlock, fitIQ4XSBlock } from './fits/small/iq4.js'
import { fitQ4_0Block, fitQ5_0Block, fitQ8_0Block } from './fits/small/signed.js'
import { minmaxBlock } from './fits/minmax.js'

export const BLOCK_TYPES: Readonly<Partial<Record<BlockDType, BlockType>>> = {
  Q2_K: { search: fitQ2K, refined: refineQ2K, decode: decodeQ2KBlock },
  Q3_K: { search: fitQ3KBlock, refined: refineQ3K, decode: decodeQ3KBlock },
  Q4_K: { search: fitQ4K, minmax: minmaxBlock, refined: refineQ4K, decode: decodeQ4KBlock },
  Q5_K: { search: fitQ5K, refined: refineQ5K, decode: decodeQ5KBlock },
  Q6_K: { search: fitQ6KBlock, refined: refineQ6K, decode: decodeQ6KBlock },
  Q4_0: { search: fitQ4_0Block, decode: decodeQ4_0Block },
  Q4_1: { search: fitQ4_1Block, decode: decodeQ4_1Block },
  Q5_0: { search: fitQ5_0Block, decode: decodeQ5_0Block },
  Q5_1: { search: fitQ5_1Block, decode: decodeQ5_1Block },
  Q8_0: { search: fitQ8_0Block, decode: decodeQ8_0Block },
  IQ4_NL: { search: fitIQ4NLBlock, decode: decodeIQ4NLBlock },
  IQ4_XS: { search: fitIQ4XSBlock, decode: decodeIQ4XSBlock },
}
