/** Every block type: a new one is a row here, a row of DTYPES, a file in `blocks/` and one in `fits/`. */
import type { BlockDType, BlockType } from './block.js'
import { decodeQ3KBlock } from './blocks/q3k.js'
import { decodeQ4KBlock } from './blocks/q4k.js'
import { decodeQ6KBlock } from './blocks/q6k.js'
import { fitQ3KBlock } from './fits/signed/q3k.js'
import { fitQ6KBlock } from './fits/signed/q6k.js'
import { minmaxBlock } from './minmax.js'
import { searchBlock } from './search.js'

export const BLOCK_TYPES: Readonly<Partial<Record<BlockDType, BlockType>>> = {
  Q3_K: { search: fitQ3KBlock, decode: decodeQ3KBlock },
  Q4_K: { search: searchBlock, minmax: minmaxBlock, decode: decodeQ4KBlock },
  Q6_K: { search: fitQ6KBlock, decode: decodeQ6KBlock },
}
