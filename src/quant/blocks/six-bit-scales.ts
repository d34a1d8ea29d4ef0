/** What Q4_K, Q5_K and Q2_K super-blocks hold, and how Q4_K and Q5_K pack 8 scales and 8 mins of 6 bits in 12 bytes. */

/** A super-block, unpacked. */
export interface AffineBlock {
  /** f16 bit patterns of the scale of the scales and the scale of the mins. */
  readonly d: number
  readonly dmin: number
  /** One byte a sub-block. */
  readonly scales: ArrayLike<number>
  readonly mins: ArrayLike<number>
  /** 256 quantized values. */
  readonly values: ArrayLike<number>
}

export interface UnpackedScale {
  readonly scale: number
  readonly min: number
}

/** Where the 12 bytes stand in a block, behind d and dmin. */
const SCALES_OFFSET = 4

/** Writes d, dmin and the 12 bytes. Of a byte above 63 all bits are written. */
export function packHeader({ d, dmin, scales, mins }: AffineBlock, target: Uint8Array, start: number): void {
  target[start] = d & 0xff
  target[start + 1] = d >> 8
  target[start + 2] = dmin & 0xff
  target[start + 3] = dmin >> 8
  // Sub-blocks 0-3: six bits each; 4-7: their low nibbles here, their upper two bits above those of 0-3.
  const packed = start + SCALES_OFFSET
  for (let j = 0; j < 4; j++) {
    const scale = scales[j + 4] ?? 0
    const min = mins[j + 4] ?? 0
    target[packed + j] = (scales[j] ?? 0) | ((scale >> 4) << 6)
    target[packed + j + 4] = (mins[j] ?? 0) | ((min >> 4) << 6)
    target[packed + j + 8] = (scale & 15) | ((min & 15) << 4)
  }
}

/** Scale and min of sub-block `j` of the super-block at `start`, 6 bits each. */
export function unpackScale(bytes: Uint8Array, start: number, j: number): UnpackedScale {
  const packed = start + SCALES_OFFSET
  const at = (offset: number): number => bytes[packed + offset] ?? 0
  if (j < 4) return { scale: at(j) & 63, min: at(j + 4) & 63 }
  return {
    scale: (at(j + 4) & 15) | ((at(j - 4) >> 6) << 4),
    min: (at(j + 4) >> 4) | ((at(j) >> 6) << 4),
  }
}
