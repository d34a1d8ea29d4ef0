/** What there is to damage in a safetensors file. */
import { pick, type Anatomy, type Mutation, type Random } from './mutate.js'

const NUMBERS = ['0', '1', '4', '255', '4294967296', '9007199254740991', '9007199254740992', '1e3', '-1', '-0', '1.0']
const VALUES = ['null', 'true', '""', '[]', '{}', '[[1]]', '{"dtype":"F32"}', '"\\ud800"', '[1,2,3]']
const DTYPES = ['BOOL', 'F4', 'F6_E2M3', 'U8', 'F8_E4M3', 'I16', 'BF16', 'F32', 'C64', 'U64', 'f32', 'Q4_K', '']
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\]:,]|true|false|null/g

export const safetensorsAnatomy: Anatomy = {
  headBytes: (file) => Math.min(file.length, 8 + headerOf(file).length),
  headerFields: [[0, 8]],
  indexFields: () => [],
  alignment: 8,
  // The length is made right after each: damage gets as far as it can.
  mutations: [
    inHeader((text, random) => replaceOne(text, /\d+/g, pick(NUMBERS, random), random)),
    inHeader((text, random) => replaceOne(text, /\d+/g, String(random() % 64), random)),
    inHeader((text, random) => replaceOne(text, /"[A-Z]+[\dA-Z_]*"/g, `"${pick(DTYPES, random)}"`, random)),
    inHeader((text, random) => replaceOne(text, TOKEN, pick(VALUES, random), random)),
    inHeader((text, random) => replaceOne(text, TOKEN, '', random)),
    inHeader((text, random) => replaceOne(text, TOKEN, `${pick(text.match(TOKEN) ?? [''], random)} `, random)),
    // Entries of the same name, in another order, twice.
    inHeader((text, random) =>
      replaceOne(text, /"[\w. ]+":/g, pick(text.match(/"[\w. ]+":/g) ?? [''], random), random),
    ),
    inHeader((text, random) => text + ' '.repeat(random() % 20)),
    inHeader((text, random) => ' '.repeat(random() % 20) + text),
  ],
  repair: (file) => file,
}

function headerOf(file: Buffer): Buffer {
  const length = file.length < 8 ? 0n : file.readBigUInt64LE()
  return file.subarray(8, Number(length > 100_000n ? 100_000n : length) + 8)
}

function inHeader(change: (text: string, random: Random) => string): Mutation {
  return (file, random) => {
    const header = headerOf(file)
    const text = Buffer.from(change(header.toString('latin1'), random), 'latin1')
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(text.length))
    return Buffer.concat([length, text, file.subarray(8 + header.length)])
  }
}

/** Puts something in the place of one of the parts that a pattern finds. */
function replaceOne(text: string, pattern: RegExp, by: string, random: Random): string {
  const found = [...text.matchAll(pattern)]
  if (found.length === 0) return text
  const { index, 0: part } = pick(found, random)
  return text.slice(0, index) + by + text.slice(index + part.length)
}
