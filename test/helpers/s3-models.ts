/** Models of several blocks of object storage, with tensors of very different sizes. */
import { randomFillSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DType } from 'apr-stream'
import { modelBytes, type StoredTensor } from './files.js'

const MIB = 1024 * 1024

function tensor(name: string, dtype: DType, shape: readonly number[]): StoredTensor {
  const elements = shape.reduce((product, dimension) => product * dimension, 1)
  if (dtype === 'I8') return { name, dtype, shape, size: elements, bytes: randomFillSync(new Uint8Array(elements)) }
  const halves = randomFillSync(new Uint16Array(elements))
  // Between 1/16 and 1, of either sign.
  for (let i = 0; i < elements; i++) halves[i] = ((halves[i] ?? 0) & 0x8fff) | 0x2c00
  return { name, dtype, shape, size: 2 * elements, bytes: new Uint8Array(halves.buffer) }
}

/** About `megabytes` of layers, each of which has a large tensor, one that can be quantized, and small ones. */
export function writeBigModel(folder: string, megabytes = 44): string {
  const tensors: StoredTensor[] = [tensor('embed', 'F16', [1000, 256])]
  for (let layer = 0; layer * 4 < megabytes; layer++) {
    tensors.push(tensor(`layer.${layer}.big`, 'I8', [3 * MIB + 7 * layer + 1]))
    tensors.push(tensor(`layer.${layer}.matrix`, 'F16', [512, 1024]))
    tensors.push(tensor(`layer.${layer}.norm`, 'F16', [1024 + layer]))
  }
  const path = join(folder, 'big.apr')
  writeFileSync(path, modelBytes({ tensors }))
  return path
}
