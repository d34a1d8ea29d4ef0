/** Makes hostile files out of good ones: every kind of damage that a byte, a field or a writer can do. */

/** Gives the next whole number from 0 to 2^32-1. */
export type Random = () => number

export type Mutation = (file: Buffer, random: Random) => Buffer

/** Offset and size in bytes of a number in a file. */
export type Field = readonly [offset: number, size: number]

/** What there is to damage in a file of a format, as far as it can be read: it may be damaged already. */
export interface Anatomy {
  /** Bytes before the data. */
  readonly headBytes: (file: Buffer) => number
  /** Numbers of the header, and of what follows it. */
  readonly headerFields: readonly Field[]
  readonly indexFields: (file: Buffer) => readonly Field[]
  /** Multiples that the format aligns to. */
  readonly alignment: number
  /** Damage that only this format knows. */
  readonly mutations: readonly Mutation[]
  /** Makes what guards the file right again, some of the time: else nearly every file dies at its header. */
  readonly repair: (file: Buffer, random: Random) => Buffer
}

/** Damages a copy of the file in one to three ways. */
export function mutate(file: Buffer, anatomy: Anatomy, random: Random): Buffer {
  const mutations = [...anatomy.mutations, ...mutationsOf(anatomy)]
  let mutated: Buffer = Buffer.from(file)
  for (let rounds = 1 + (random() % 3); rounds > 0; rounds--) mutated = pick(mutations, random)(mutated, random)
  return anatomy.repair(mutated, random)
}

export function pick<T>(choices: readonly T[], random: Random): T {
  return choices[random() % choices.length] as T
}

function mutationsOf(anatomy: Anatomy): Mutation[] {
  const { headBytes, headerFields, alignment } = anatomy
  const indexFields = (file: Buffer): readonly Field[] => {
    const fields = anatomy.indexFields(file)
    return fields.length > 0 ? fields : [[0, 1]]
  }
  return [
    // One bit, anywhere or before the data.
    (file, random) => flip(file, random() % (file.length || 1), random),
    (file, random) => flip(file, random() % (headBytes(file) || 1), random),
    // A file cut short, anywhere or before the data; or with something behind it.
    (file, random) => file.subarray(0, random() % (file.length + 1)),
    (file, random) => file.subarray(0, random() % (headBytes(file) + 1)),
    (file, random) => Buffer.concat([file, Buffer.alloc(random() % 200, random() % 2)]),
    // A field of the header or of the index with a number that is a limit somewhere.
    (file, random) => setField(file, pick(headerFields, random), alignment, random),
    (file, random) => setField(file, pick(indexFields(file), random), alignment, random),
    (file, random) => setField(file, pick(indexFields(file), random), alignment, random),
    (file, random) => swapFields(file, indexFields(file), random),
    (file, random) => swapFields(file, headerFields, random),
    // A run of bytes over another.
    (file, random) => copyRun(file, file.length, random),
    (file, random) => copyRun(file, headBytes(file), random),
  ]
}

function flip(file: Buffer, position: number, random: Random): Buffer {
  if (position < file.length) file[position] = (file[position] ?? 0) ^ (1 << (random() % 8))
  return file
}

function setField(file: Buffer, [offset, size]: Field, alignment: number, random: Random): Buffer {
  if (offset + size > file.length) return file
  const current = readNumber(file, offset, size)
  const limits = [
    ...[0, 1, 2, 8, 9, 63, 64, 65, 255, 256, 257, 4096, 2 ** 31, 2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53].map(BigInt),
    ...[2n ** 60n, 2n ** 63n, 2n ** 64n - 64n, 2n ** 64n - 1n],
    ...[file.length, file.length - 4, file.length + alignment - 1, random()].map(BigInt),
    ...[
      current + 1n,
      current - 1n,
      current * 2n,
      current / 2n,
      current + BigInt(alignment),
      current - BigInt(alignment),
    ],
  ]
  writeNumber(file, offset, size, pick(limits, random))
  return file
}

function swapFields(file: Buffer, fields: readonly Field[], random: Random): Buffer {
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

export function readNumber(file: Buffer, offset: number, size: number): bigint {
  return size === 8 ? file.readBigUInt64LE(offset) : BigInt(file.readUIntLE(offset, size))
}

export function writeNumber(file: Buffer, offset: number, size: number, value: bigint): void {
  const bits = BigInt.asUintN(size * 8, value)
  if (size === 8) file.writeBigUInt64LE(bits, offset)
  else file.writeUIntLE(Number(bits), offset, size)
}
