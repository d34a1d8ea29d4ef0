/** Every block type: a new one is a row here, a row of DTYPES, a file in `blocks/` and one in `fits/`. */
import type { BlockDType, BlockType } from './block.js'
import { decodeQ4KBlock } from './blocks/q4k.js'
import { minmaxBlock } from './minmax.js'
import { searchBlock } from './search.js'

export const BLOCK_TYPES: Readonly<Partial<Record<BlockDType, BlockType>>> = {
  Q4_K: { search: searchBlock, minmax: minmaxBlock, decode: decodeQ4KBlock },
}
