/** Makes hostile files out of good ones: every kind of damage that a byte, a field or a writer can do. */
import { align, repairChecksums } from '../helpers/apr-file.js'

/** Gives the next whole number from 0 to 2^32-1. */
export type Random = () => number

type Mutation = (file: Buffer, random: Random) => Buffer

/** Offsets and sizes in bytes of the header's fields. */
const HEADER_FIELDS: readonly (readonly [offset: number, size: number])[] = [
  [4, 1],
  [5, 1],
  [6, 2],
  [8, 4],
  [12, 8],
  [20, 4],
  [24, 8],
  [32, 8],
  [40, 4],
  [44, 8],
]

/** Damages a copy of the file in one to three ways, and repairs the checksums in half of the cases. */
export function mutate(file: Buffer, random: Random): Buffer {
  let mutated: Buffer = Buffer.from(file)
  for (let rounds = 1 + (random() % 3); rounds > 0; rounds--) mutated = pick(MUTATIONS, random)(mutated, random)
  // Unrepaired, nearly every file dies at its header; with both repaired, damage gets as far as it can.
  return random() % 2 === 0 ? mutated : repairChecksums(mutated, random() % 4 > 0)
}

export function pick<T>(choices: readonly T[], random: Random): T {
  return choices[random() % choices.length] as T
}

const MUTATIONS: readonly Mutation[] = [
  // One bit, anywhere or before the data.
  (file, random) => flip(file, random() % (file.length || 1), random),
  (file, random) => flip(file, random() % (headBytes(file) || 1), random),
  // A file cut short, anywhere or before the data; or with something behind it.
  (file, random) => file.subarray(0, random() % (file.length + 1)),
  (file, random) => file.subarray(0, random() % (headBytes(file) + 1)),
  (file, random) => Buffer.concat([file, Buffer.alloc(random() % 200, random() % 2)]),
  // A field of the header or of the index with a number that is a limit somewhere.
  (file, random) => setField(file, pick(HEADER_FIELDS, random), random),
  (file, random) => setField(file, pick(indexFields(file), random), random),
  (file, random) => setField(file, pick(indexFields(file), random), random),
  (file, random) => swapFields(file, indexFields(file), random),
  (file, random) => swapFields(file, HEADER_FIELDS, random),
  // A run of bytes over another.
  (file, random) => copyRun(file, file.length, random),
  (file, random) => copyRun(file, headBytes(file), random),
  (file, random) => setMetadata(file, makeMetadata(metadataOf(file), random)),
  (file, random) => setMetadata(file, makeMetadata(metadataOf(file), random)),
]

function flip(file: Buffer, position: number, random: Random): Buffer {
  if (position < file.length) file[position] = (file[position] ?? 0) ^ (1 << (random() % 8))
  return file
}

function setField(file: Buffer, [offset, size]: readonly [number, number], random: Random): Buffer {
  if (offset + size > file.length) return file
  const current = readNumber(file, offset, size)
  const limits = [
    ...[0, 1, 2, 8, 9, 63, 64, 65, 255, 256, 257, 4096, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53].map(BigInt),
    ...[2n ** 60n, 2n ** 63n, 2n ** 64n - 64n, 2n ** 64n - 1n],
    ...[file.length, file.length - 4, align(file.length), random()].map(BigInt),
    ...[current + 1n, current - 1n, current * 2n, current / 2n, current + 64n, current - 64n],
  ]
  writeNumber(file, offset, size, pick(limits, random))
  return file
}

function swapFields(file: Buffer, fields: readonly (readonly [number, number])[], random: Random): Buffer {
  const [offset, size] = pick(fields, random)
  const [other] = pick(
    fields.filter((field) => field[1] === size),
    random,
  )
  if (Math.max(offset, other) + size > file.length) return file
  const value = readNumber(file, offset, size)
  writeNumber(file, offset, size, readNumber(file, other, size))
  writeNumber(file, other, size, value)
  return file
}

function copyRun(file: Buffer, within: number, random: Random): Buffer {
  if (within === 0) return file
  const from = random() % within
  file.copy(file, random() % within, from, from + 1 + (random() % 100))
  return file
}

/** Bytes before the data, as far as the header tells. */
function headBytes(file: Buffer): number {
  if (file.length < 64) return file.length
  return Math.min(file.length, Number(file.readBigUInt64LE(32)))
}

/** Name lengths, dtypes, numbers of dimensions, dimensions, offsets and sizes of the index, as far as it can be read. */
function indexFields(file: Buffer): (readonly [number, number])[] {
  const fields: (readonly [number, number])[] = []
  if (file.length >= 64) {
    let position = Number(file.readBigUInt64LE(24))
    for (let count = Math.min(100, file.readUInt32LE(8)); count > 0 && position + 2 <= file.length; count--) {
      const nameEnd = position + 2 + file.readUInt16LE(position)
      if (nameEnd + 2 > file.length) break
      fields.push([position, 2], [nameEnd, 1], [nameEnd + 1, 1])
      const numbers = Math.min(10, file.readUInt8(nameEnd + 1) + 2)
      for (let i = 0; i < numbers; i++) fields.push([nameEnd + 2 + 8 * i, 8])
      position = nameEnd + 2 + 8 * numbers
    }
  }
  return fields.length > 0 ? fields : [[0, 1]]
}

function metadataOf(file: Buffer): string {
  if (file.length < 64) return '{}'
  const offset = Number(file.readBigUInt64LE(12))
  return file.toString('latin1', offset, offset + Math.min(10_000, file.readUInt32LE(20)))
}

/** Puts other metadata in the place of what is there, and moves everything behind it. */
function setMetadata(file: Buffer, text: string): Buffer {
  if (file.length < 64) return file
  const metadata = Buffer.from(text)
  const end = align(64 + file.readUInt32LE(20))
  const moved = align(64 + metadata.length)
  const result = Buffer.concat([
    file.subarray(0, 64),
    metadata,
    Buffer.alloc(moved - 64 - metadata.length),
    file.subarray(end),
  ])
  result.writeUInt32LE(metadata.length, 20)
  for (const offset of [24, 32]) {
    writeNumber(result, offset, 8, result.readBigUInt64LE(offset) + BigInt(moved) - BigInt(end))
  }
  return result
}

/** JSON that is deep, enormous, repeats itself, or is none. */
function makeMetadata(text: string, random: Random): string {
  const depth = pick([1, 10, 126, 127, 128, 129, 1000, 50_000], random)
  const count = pick([1, 10, 1000, 20_000], random)
  const key = pick(['a', 'param_count', 'quantization', 'original_format', '__proto__', 'é'], random)
  const value = pick(['1', 'null', '1000000.0', '"x"', '{}', '[[]]', '-', '1e999', '{"a":1,"a":2}'], random)
  const position = random() % (text.length + 1)
  return pick<() => string>(
    [
      () => '{"a":'.repeat(depth) + value + '}'.repeat(depth),
      () => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`,
      () => `{"a":${'['.repeat(depth)}`,
      () => `{${Array<string>(count).fill(`"${key}":${value}`).join(',')}}`,
      () => `{${Array.from({ length: count }, (_, i) => `"${key}${i}":${value}`).join(' , ')}}`,
      () => `{"${key}":"${'x'.repeat(count * 10)}"}`,
      () => ' '.repeat(count) + text,
      () => `{"${key}":${value}}`,
      () =>
        text.slice(0, position) +
        pick(['{', '}', '[', ']', '"', ',', ':', '\\', '\0', ' ', '/', 'e', '0'], random) +
        text.slice(position),
      () => text.slice(0, position) + text.slice(position + 1 + (random() % 4)),
      () => text.replace('{', `{"${key}":${value},`),
      () => text.replace(/\}$/, `,"${key}":${value}}`),
    ],
    random,
  )()
}

function readNumber(file: Buffer, offset: number, size: number): bigint {
  return size === 8 ? file.readBigUInt64LE(offset) : BigInt(file.readUIntLE(offset, size))
}

function writeNumber(file: Buffer, offset: number, size: number, value: bigint): void {
  const bits = BigInt.asUintN(size * 8, value)
  if (size === 8) file.writeBigUInt64LE(bits, offset)
  else file.writeUIntLE(Number(bits), offset, size)
}
