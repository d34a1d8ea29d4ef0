/** What there is to damage in a GGUF file. */
import type { Anatomy, Field, Random } from './mutate.js'

/** Bytes of a value of each type, by its id; a string and an array tell theirs. */
const SCALAR_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]
const [STRING, ARRAY] = [8, 9]

export const ggufAnatomy: Anatomy = {
  headBytes: (file) => walk(file).end,
  headerFields: [
    [0, 4],
    [4, 4],
    [8, 8],
    [16, 8],
  ],
  indexFields: (file) => walk(file).fields,
  alignment: 32,
  // Everything behind is moved; whole fields more often than not.
  mutations: [
    (file, random) => splice(file, random() % (walk(file).end + 1), random() % 40, 0, random),
    (file, random) => splice(file, random() % (walk(file).end + 1), 0, random() % 40, random),
    (file, random) => splice(file, fieldAt(file, random), 0, 8, random),
    (file, random) => splice(file, fieldAt(file, random), 8, 0, random),
  ],
  repair: (file) => file,
}

function fieldAt(file: Buffer, random: Random): number {
  const { fields } = walk(file)
  return fields[random() % (fields.length || 1)]?.[0] ?? 24
}

function splice(file: Buffer, position: number, removed: number, added: number, random: Random): Buffer {
  return Buffer.concat([file.subarray(0, position), Buffer.alloc(added, random()), file.subarray(position + removed)])
}

/** Lengths, types, counts, dimensions, dtypes and offsets, and where the index ends, as far as it can be read. */
function walk(file: Buffer): { fields: Field[]; end: number } {
  const fields: Field[] = []
  let at = 24
  const field = (size: 4 | 8): number => {
    if (at + size > file.length) throw new RangeError('the end of the file')
    fields.push([at, size])
    at += size
    return size === 4 ? file.readUInt32LE(at - 4) : Number(file.readBigUInt64LE(at - 8))
  }
  const value = (type: number): void => {
    if (type === STRING) at += field(8)
    else if (type === ARRAY) {
      const element = field(4)
      const count = field(8)
      if (element === STRING) for (let i = 0; i < Math.min(count, 20); i++) at += field(8)
      else at += count * (SCALAR_BYTES[element] ?? 0)
    } else at += SCALAR_BYTES[type] ?? 0
  }
  try {
    const [tensors, kvs] = [file.readBigUInt64LE(8), file.readBigUInt64LE(16)]
    for (let i = 0; i < Math.min(100, Number(kvs)); i++) {
      at += field(8)
      value(field(4))
    }
    for (let i = 0; i < Math.min(100, Number(tensors)); i++) {
      at += field(8)
      for (let left = Math.min(10, field(4)); left > 0; left--) field(8)
      field(4)
      field(8)
    }
  } catch {
    // As far as it can be read.
  }
  return { fields, end: Math.min(file.length, at) }
}
