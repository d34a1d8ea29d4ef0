/**
 * Model files for tests: where they are, what they hold, and a second, plain way to make and to read them, which shares
 * no code with the package.
 */
import { randomFillSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ByteSource, DType, TensorInfo } from 'apr-stream'
import { buildApr, DTYPE_IDS } from './apr-file.js'

/** A real model: 15 tensors, F32. */
export const SAMPLE = fileURLToPath(new URL('../../examples/models/silero-vad.apr', import.meta.url))

/** Path of a file of `fixtures/apr`. */
export const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/apr/${name}`, import.meta.url))

/** Every readable model of the repository, by path. */
export const MODELS: readonly string[] = [
  SAMPLE,
  ...['every-dtype.apr', 'golden_v2.apr', 'golden_v2_skip_none.apr', 'silero-vad.apr-quantize.apr'].map(fixture),
]

/** A tensor with its bytes. */
export interface StoredTensor extends TensorInfo {
  readonly bytes: Uint8Array
}

/** What a file holds. */
export interface StoredModel {
  readonly tensors: readonly StoredTensor[]
  /** JSON text. */
  readonly metadata: string
  readonly flags: number
  readonly minorVersion: number
  readonly reserved: Uint8Array
}

type ModelFields = Pick<StoredModel, 'tensors'> & Partial<StoredModel>

export const FLAG_QUANTIZED = 0x0020
export const FLAG_ROW_MAJOR = 0x0400

const DTYPES = new Map<number, DType>(Object.entries(DTYPE_IDS).map(([dtype, id]) => [id, dtype as DType]))

/** The canonical file of a model. */
export function modelBytes({ tensors, minorVersion = 0, ...rest }: ModelFields): Buffer {
  const sorted = [...tensors].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))
  const entries = sorted.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, data: bytes }))
  return buildApr({ metadata: '{}', flags: FLAG_ROW_MAJOR, ...rest, minor: minorVersion, tensors: entries })
}

/** What a file holds; nothing is checked. */
export function parseModel(file: Buffer): StoredModel {
  const metadataOffset = Number(file.readBigUInt64LE(12))
  const dataOffset = Number(file.readBigUInt64LE(32))
  let position = Number(file.readBigUInt64LE(24))
  const tensors = Array.from({ length: file.readUInt32LE(8) }, (): StoredTensor => {
    const nameEnd = position + 2 + file.readUInt16LE(position)
    const name = file.toString('utf8', position + 2, nameEnd)
    const dtype = DTYPES.get(file.readUInt8(nameEnd)) ?? 'F32'
    const dimensions = file.readUInt8(nameEnd + 1)
    position = nameEnd + 2
    const numbers = Array.from({ length: dimensions + 2 }, (_, i) => Number(file.readBigUInt64LE(position + 8 * i)))
    position += 8 * numbers.length
    const [offset = 0, size = 0] = numbers.splice(dimensions)
    const start = dataOffset + offset
    return { name, dtype, shape: numbers, size, bytes: file.subarray(start, start + size) }
  })
  return {
    tensors,
    metadata: file.toString('utf8', metadataOffset, metadataOffset + file.readUInt32LE(20)),
    flags: file.readUInt16LE(6),
    minorVersion: file.readUInt8(5),
    reserved: file.subarray(44, 64),
  }
}

export const readModel = (path: string): StoredModel => parseModel(readFileSync(path))

/** A tensor of this dtype and shape with arbitrary finite values; its bytes are the same for the same arguments. */
export function arbitraryTensor(name: string, dtype: DType, shape: readonly number[], seed = 1): StoredTensor {
  const elements = shape.reduce((product, dimension) => product * dimension, 1)
  let state = seed
  // mulberry32
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
  const [rows = 1, cols = 1] = shape
  const blocks = shape.length === 2 ? rows * Math.ceil(cols / 256) : Math.ceil(elements / 256)
  const sizes: Partial<Record<DType, number>> = {
    ...{ F32: 4 * elements, F16: 2 * elements, BF16: 2 * elements, F64: 8 * elements },
    ...{ I32: 4 * elements, I64: 8 * elements, I8: elements, U8: elements },
    ...{ Q4_K: 144 * blocks, Q6_K: 210 * blocks },
    ...{ APR_Q4: Math.ceil(elements / 32) * 18, APR_Q8: 4 + elements },
  }
  const bytes = Buffer.alloc(sizes[dtype] ?? 0)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256)
  // Floats and scales get values around zero, so that none is NaN or infinite.
  const writeF16 = (position: number): unknown => bytes.writeUInt16LE(0x2c00 | (random() * 0x3ff), position)
  const writeF32 = (position: number): unknown => bytes.writeFloatLE(random() - 0.5, position)
  if (dtype === 'F32') for (let i = 0; i < bytes.length; i += 4) writeF32(i)
  if (dtype === 'F64') for (let i = 0; i < bytes.length; i += 8) bytes.writeDoubleLE(random() - 0.5, i)
  if (dtype === 'F16' || dtype === 'BF16') {
    const top = dtype === 'F16' ? 0x2c00 : 0x3d00
    for (let i = 0; i < bytes.length; i += 2) {
      bytes.writeUInt16LE((random() < 0.5 ? 0x8000 : 0) | top | (random() * 0x1ff), i)
    }
  }
  if (dtype === 'APR_Q8') writeF32(0)
  if (dtype === 'APR_Q4') for (let i = 0; i < bytes.length; i += 18) writeF16(i)
  if (dtype === 'Q6_K') for (let i = 208; i < bytes.length; i += 210) writeF16(i)
  if (dtype === 'Q4_K') {
    for (let i = 0; i < bytes.length; i += 144) {
      writeF16(i)
      writeF16(i + 2)
    }
  }
  return { name, dtype, shape, size: bytes.length, bytes }
}

/** The values of a tensor as f32, by the format's description of its dtype. */
export function valuesOf({ dtype, shape, bytes }: StoredTensor): Float32Array {
  const file = Buffer.from(bytes)
  const widenF16 = (position: number): number => {
    const half = file.readUInt16LE(position)
    const exponent = (half >> 10) & 31
    const magnitude =
      exponent === 0 ? (half & 1023) / 1024 / 2 ** 14 : (1 + (half & 1023) / 1024) * 2 ** (exponent - 15)
    return half >= 0x8000 ? -magnitude : magnitude
  }
  const widenBF16 = (position: number): number => {
    const wide = Buffer.alloc(4)
    file.copy(wide, 2, position, position + 2)
    return wide.readFloatLE()
  }
  const readers: Partial<Record<DType, (i: number) => number>> = {
    F32: (i) => file.readFloatLE(4 * i),
    F64: (i) => file.readDoubleLE(8 * i),
    F16: (i) => widenF16(2 * i),
    BF16: (i) => widenBF16(2 * i),
    APR_Q8: (i) => file.readInt8(4 + i) * file.readFloatLE(0),
    APR_Q4: (i) => {
      const block = Math.floor(i / 32) * 18
      const byte = file.readUInt8(block + 2 + Math.floor((i % 32) / 2))
      return ((i % 2 === 0 ? byte & 15 : byte >> 4) - 8) * widenF16(block)
    },
  }
  const read = readers[dtype]
  if (read === undefined) throw new Error(`${dtype} has no float values`)
  const elements = shape.reduce((product, dimension) => product * dimension, 1)
  return Float32Array.from({ length: elements }, (_, i) => read(i))
}

/** Bytes of an f32 array. */
export const f32Bytes = (values: Float32Array): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength)

/** Compares all the bytes, and says where they differ. */
export function sameBytes(t: Test, found: Uint8Array, expected: Uint8Array, what: string): boolean {
  if (Buffer.compare(found, expected) === 0) return t.pass(what)
  const at = found.findIndex((byte, i) => byte !== expected[i])
  return t.fail(what, {
    found: { length: found.length, from: Buffer.from(found.subarray(at, at + 16)).toString('hex') },
    expected: { length: expected.length, from: Buffer.from(expected.subarray(at, at + 16)).toString('hex') },
    differsAt: at,
  })
}

/** Names in a folder, sorted: to see that nothing was left behind. */
export const filesIn = (folder: string): string[] => readdirSync(folder).sort()

/** Runs a pipeline and waits until every stage has let go of what it held, also when one has failed. */
export async function run(stages: readonly unknown[], options: { signal?: AbortSignal } = {}): Promise<void> {
  const streams = stages.filter((stage) => typeof stage === 'object' && stage !== null && 'once' in stage)
  const closed = (streams as NodeJS.EventEmitter[]).map(
    (stream) => new Promise<void>((done) => stream.once('close', done)),
  )
  try {
    await pipeline(stages as NodeJS.ReadWriteStream[], options)
  } finally {
    await Promise.all(closed)
  }
}

/** Lets everything happen that can without new input. */
export async function turns(count = 50): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate)
}

/** A ByteSource over bytes in memory that tells what was done to it. */
export class MemorySource implements ByteSource {
  readonly name = 'memory.apr'
  readonly size: number
  readonly reads: { readonly position: number; readonly size: number }[] = []
  closed = 0
  readonly #bytes: Uint8Array
  readonly #before: (read: number) => Promise<unknown> | undefined
  #underWay = 0

  /** @param before called with the number of the read, from 0 on, before its bytes are there */
  constructor(bytes: Uint8Array, before: (read: number) => Promise<unknown> | undefined = () => undefined) {
    this.#bytes = bytes
    this.#before = before
    this.size = bytes.length
  }

  /** Bytes asked for so far. */
  get bytesRead(): number {
    return this.reads.reduce((sum, { size }) => sum + size, 0)
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    if (this.closed > 0) throw new Error('read after close')
    if (position + target.length > this.size) throw new Error('read behind the end')
    // Whoever looks into the buffer before the bytes are there sees garbage.
    randomFillSync(target)
    this.#underWay++
    try {
      await this.#before(this.reads.push({ position, size: target.length }) - 1)
      target.set(this.#bytes.subarray(position, position + target.length))
    } finally {
      this.#underWay--
    }
  }

  close(): Promise<void> {
    if (this.#underWay > 0) return Promise.reject(new Error('closed while a read is under way'))
    this.closed++
    return Promise.resolve()
  }
}
