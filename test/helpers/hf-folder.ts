/** Hugging Face folders as the converter takes them, and conversion as simply as it can be written: no streams, all in memory. */
import { createHash } from 'node:crypto'
import { basename, join } from 'node:path'
import fs from 'fs-extra'
import type { HfModel } from '../../dist/convert/hf-model.js'
import type { Piece, TargetTensor } from '../../dist/convert/tensor-plan.js'
import type { DType } from '../../dist/model/dtypes.js'
import type { TensorInfo } from '../../dist/model/tensor.js'

export interface LoadedHf {
  readonly hf: HfModel
  /** Data by tensor's name. */
  readonly data: ReadonlyMap<string, Uint8Array>
}

type Header = Record<string, { dtype: DType; shape: number[]; data_offsets: [number, number] }>

/** Reads a folder of a config, other small files and one or more safetensors. */
export async function loadHf(folder: string): Promise<LoadedHf> {
  const files = new Map<string, Uint8Array>()
  const tensors: TensorInfo[] = []
  const data = new Map<string, Uint8Array>()
  for (const name of (await fs.readdir(folder)).sort()) {
    const bytes = await fs.readFile(join(folder, name))
    if (!name.endsWith('.safetensors')) files.set(name, bytes)
    else for (const one of readSafetensors(bytes, data)) tensors.push(one)
  }
  return { hf: { folder: basename(folder), tensors, files }, data }
}

function readSafetensors(bytes: Buffer, data: Map<string, Uint8Array>): TensorInfo[] {
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Header
  return Object.entries(header)
    .filter(([name]) => name !== '__metadata__')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        data.set(name, bytes.subarray(start + from, start + to))
        return { name, dtype, shape, size: to - from }
      },
    )
}

/** The bytes of a planned tensor. */
export function convertTensor({ tensor, pieces, made }: TargetTensor, { hf, data }: LoadedHf): Uint8Array {
  const values = made ?? new Float32Array(tensor.shape.reduce((product, one) => product * one, 1))
  const dtypes = new Map(hf.tensors.map(({ name, dtype }) => [name, dtype]))
  for (const piece of pieces) {
    const source = data.get(piece.source)
    const dtype = dtypes.get(piece.source)
    if (!source || !dtype) throw new Error(`no ${piece.source}`)
    values.set(valuesOf(piece, dtype, source), piece.to)
  }
  return encode(values, tensor.dtype)
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function valuesOf({ from, elements, order, add }: Piece, dtype: DType, source: Uint8Array): Float32Array {
  const read = Float32Array.from({ length: elements }, (_, i) => decode(source, dtype, from + i))
  const summed =
    add === undefined ? read : read.map((value) => (dtype === 'F16' ? halfValue(halfBits(value + add)) : value + add))
  if (!order) return summed
  const { kind, rows, cols } = order
  const result = new Float32Array(elements)
  for (let block = 0; block < elements; block += rows * cols) {
    for (let i = 0; i < rows * cols; i++) {
      const [row, col] = kind === 'rope' ? [Math.floor(i / cols), i % cols] : [i % rows, Math.floor(i / rows)]
      const from = kind === 'rope' ? (row % 2) * (rows / 2) + (row >> 1) : row
      result[block + i] = summed[block + from * cols + col] ?? NaN
    }
  }
  return result
}

const word = new DataView(new ArrayBuffer(4))

function decode(bytes: Uint8Array, dtype: DType, index: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  if (dtype === 'F32') return view.getFloat32(4 * index, true)
  const bits = view.getUint16(2 * index, true)
  if (dtype === 'F16') return halfValue(bits)
  word.setUint32(0, bits * 65_536)
  return word.getFloat32(0)
}

function encode(values: Float32Array, dtype: DType): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return new Uint8Array(Uint16Array.from(values, dtype === 'F16' ? halfBits : brainBits).buffer)
}

function brainBits(value: number): number {
  word.setFloat32(0, value)
  const bits = word.getUint32(0)
  return Math.floor((bits + 0x7fff + ((bits >>> 16) & 1)) / 65_536)
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

function halfBits(value: number): number {
  const size = Math.abs(value)
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0
  const exponent = Math.max(-14, Math.floor(Math.log2(size)) - (2 ** Math.floor(Math.log2(size)) > size ? 1 : 0))
  const step = 2 ** (exponent - 10)
  const whole = Math.floor(size / step)
  const rest = size / step - whole
  const rounded = whole + (rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? 1 : 0)
  // Rounding up may carry into the exponent, as it should.
  const bits = exponent === -14 ? rounded : (exponent + 14) * 1024 + rounded
  return sign + (size === 0 ? 0 : Math.min(bits, 0x7c00))
}
