/** What there is to damage in an APR file. */
import { align, repairChecksums } from '../helpers/apr-file.js'
import { pick, writeNumber, type Anatomy, type Field, type Random } from './mutate.js'

export const aprAnatomy: Anatomy = {
  headBytes,
  headerFields: [
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
  ],
  indexFields,
  alignment: 64,
  mutations: [
    (file, random) => setMetadata(file, makeMetadata(metadataOf(file), random)),
    (file, random) => setMetadata(file, makeMetadata(metadataOf(file), random)),
  ],
  // With both checksums right damage gets as far as it can.
  repair: (file, random) => (random() % 2 === 0 ? file : repairChecksums(file, random() % 4 > 0)),
}

/** Bytes before the data, as far as the header tells. */
function headBytes(file: Buffer): number {
  if (file.length < 64) return file.length
  return Math.min(file.length, Number(file.readBigUInt64LE(32)))
}

/** Name lengths, dtypes, numbers of dimensions, dimensions, offsets and sizes of the index, as far as it can be read. */
function indexFields(file: Buffer): Field[] {
  const fields: Field[] = []
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
  return fields
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
