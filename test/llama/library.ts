/** llama.cpp's own library of blocks, called through koffi. */
import { join } from 'node:path'
import { DTYPES } from '../../dist/model/dtypes.js'
import type { BlockDType } from '../../dist/quant/block.js'
import { llamaPackagesOrWhyNot, type LlamaPackages } from './packages.js'

/** Ids of dtypes in ggml. */
const GGML_IDS: Readonly<Record<BlockDType, number>> = {
  ...{ Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q2_K: 10, Q3_K: 11, Q4_K: 12, Q5_K: 13, Q6_K: 14 },
  ...{ IQ4_NL: 20, IQ4_XS: 23 },
}

/** What is used of koffi. */
interface Koffi {
  load(path: string): { func(prototype: string): (...values: unknown[]) => unknown }
}

export interface LlamaLibrary {
  /** Blocks of rows; `importance` is that of one row, the same for all. */
  quantize(dtype: BlockDType, values: Float32Array, rowElements: number, importance?: Float32Array): Uint8Array
  /** The values of whole blocks. */
  dequantize(dtype: BlockDType, blocks: Uint8Array): Float32Array
}

/** The library; or why there is none. */
export function llamaLibraryOrWhyNot(): LlamaLibrary | string {
  const packages = llamaPackagesOrWhyNot()
  return typeof packages === 'string' ? packages : openLibrary(packages)
}

function openLibrary({ koffi, folder }: LlamaPackages): LlamaLibrary {
  const library = (koffi as Koffi).load(join(folder, 'libggml-base.so'))
  const initialize = library.func('void ggml_quantize_init(int type)')
  // `void *` passes an array's own memory; koffi copies what is declared as `float *`.
  const quantizeChunk = library.func(
    'size_t ggml_quantize_chunk(int type, const void *x, void *y, int64_t start, int64_t rows, int64_t n, const void *w)',
  )
  const decoders = new Map<BlockDType, (...values: unknown[]) => unknown>()
  const decoder = (dtype: BlockDType): ((...values: unknown[]) => unknown) => {
    const name = dtype.toLowerCase().replace('_k', '_K')
    const found = decoders.get(dtype) ?? library.func(`void dequantize_row_${name}(const void *x, void *y, int64_t k)`)
    decoders.set(dtype, found)
    return found
  }
  for (const id of Object.values(GGML_IDS)) initialize(id)
  return {
    quantize(dtype, values, rowElements, importance) {
      const { blockElements, blockBytes } = DTYPES[dtype]
      const blocks = new Uint8Array((values.length / blockElements) * blockBytes)
      const rows = values.length / rowElements
      const written = quantizeChunk(GGML_IDS[dtype], values, blocks, 0, rows, rowElements, importance ?? null)
      if (Number(written) !== blocks.length)
        throw new Error(`expected ${blocks.length} bytes, found ${String(written)}`)
      return blocks
    },
    dequantize(dtype, blocks) {
      const { blockElements, blockBytes } = DTYPES[dtype]
      const values = new Float32Array((blocks.length / blockBytes) * blockElements)
      decoder(dtype)(blocks, values, values.length)
      return values
    },
  }
}
