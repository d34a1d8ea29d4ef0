/**
 * Files that break one rule each, and files at the edge of a rule that are good. `make-hostile.ts` writes them to
 * `fixtures/hostile`; `expected.json` there says what must be said about each.
 */
import { align, buildApr, f32Bytes, repairChecksums, type FileFields, type TensorFields } from './apr-file.js'

/** Offsets in the file that `buildApr` makes when it is asked for nothing else. */
const METADATA = 64
const INDEX = 128
const DATA = 192

const TOO_LARGE = 2n ** 60n
const f32 = (...values: number[]): Buffer => f32Bytes(values)
const metadata = (text: string | Uint8Array): Buffer => buildApr({ metadata: text })
const one = (tensor: Partial<TensorFields>, fields: FileFields = {}): Buffer =>
  buildApr({ ...fields, tensors: [{ name: 'a', ...tensor }] })
const two = (first: Partial<TensorFields>, second: Partial<TensorFields>): Buffer =>
  buildApr({
    tensors: [
      { name: 'a', ...first },
      { name: 'b', ...second },
    ],
  })

/** Super-blocks of zeros, but for two bytes that make one of their f16 scales something else. */
function superBlocks(blockBytes: number, blocks: number, offset: number, scale: number): Buffer {
  const data = Buffer.alloc(blockBytes * blocks)
  data.writeUInt16LE(scale, offset)
  return data
}

/** The file without its padding and checksum at the end, or with a checksum right behind the data. */
function unpadded(hasFooter: boolean): Buffer {
  const file = buildApr({ footer: false }).subarray(0, DATA + 4)
  return hasFooter ? repairChecksums(Buffer.concat([file, Buffer.alloc(4)]), true) : file
}

/** A good file whose sections stand in another order: data, index, metadata. */
function reversed(): Buffer {
  const text = '{"order":"reversed"}'
  const entry = buildApr({ footer: false }).subarray(INDEX, INDEX + 29)
  const file = Buffer.alloc(align(192 + text.length) + 4)
  buildApr({ tensorCount: 1, dataOffset: 64, indexOffset: 128, metadataOffset: 192, metadataSize: text.length }).copy(
    file,
    0,
    0,
    64,
  )
  file.set(f32(1), 64)
  file.set(entry, 128)
  file.write(text, 192)
  return repairChecksums(file, true)
}

const nested = (depth: number): string => '{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1)

/** By the file's name. */
export const HOSTILE_FILES: Readonly<Record<string, Buffer>> = {
  // What it is.
  'empty-file': Buffer.alloc(0),
  'magic-cut-short': Buffer.from('APR'),
  'header-cut-short': buildApr().subarray(0, 63),
  'apr-v1': buildApr({ magic: 'APRN' }),
  gguf: buildApr({ magic: 'GGUF' }),
  ggml: buildApr({ magic: 'lmgg' }),
  safetensors: Buffer.from('\x02\0\0\0\0\0\0\0{}', 'latin1'),
  zip: Buffer.from('PK\x03\x04', 'latin1'),
  gzip: Buffer.from('1f8b0800', 'hex'),
  'unknown-magic': Buffer.alloc(100, 0xff),
  'version-3': buildApr({ major: 3 }),

  // Header.
  'header-checksum-wrong': buildApr({ headerChecksum: 0x12345678 }),
  'flag-lz4': buildApr({ flags: 0x0401 }),
  'flag-zstd': buildApr({ flags: 0x0402 }),
  'flag-encrypted': buildApr({ flags: 0x0404 }),
  'flag-column-major': buildApr({ flags: 0x0800 }),
  'metadata-offset-too-large': buildApr({ metadataOffset: TOO_LARGE }),
  'index-offset-too-large': buildApr({ indexOffset: TOO_LARGE }),
  'data-offset-too-large': buildApr({ dataOffset: TOO_LARGE }),
  'data-offset-misaligned': buildApr({ dataOffset: DATA + 4 }),
  'metadata-inside-header': buildApr({ metadataOffset: 63 }),
  'index-inside-header': buildApr({ indexOffset: 0 }),
  'data-inside-header': buildApr({ dataOffset: 0 }),
  'metadata-behind-end': buildApr({ metadataOffset: 2 ** 53 - 1, metadataSize: 2 ** 32 - 1 }),
  'metadata-ends-behind-end': buildApr({ metadataSize: 2 ** 32 - 1 }),
  'index-behind-end': buildApr({ indexOffset: 4096 }),
  'data-behind-end': buildApr({ dataOffset: 4096 }),
  'tensor-count-4-billion': buildApr({ tensorCount: 2 ** 32 - 1 }),
  'tensor-count-no-room': buildApr({ tensorCount: 4 }),

  // Metadata.
  'metadata-empty': metadata(''),
  'metadata-not-utf-8': metadata(Buffer.from('{"a":"\xff"}', 'latin1')),
  'metadata-array': metadata('[{}]'),
  'metadata-null': metadata('null'),
  'metadata-string': metadata('"{}"'),
  'metadata-trailing-comma': metadata('{"a":1,}'),
  'metadata-trailing-bytes': metadata('{"a":1}\0'),
  'metadata-two-objects': metadata('{}{}'),
  'metadata-comment': metadata('{"a":1/**/}'),
  'metadata-cut-short': metadata('{"a":1'),
  'metadata-string-cut-short': metadata('{"a":"'),
  'metadata-byte-order-mark': metadata('\ufeff{}'),
  'metadata-key-without-quotes': metadata('{a:1}'),
  'metadata-nan': metadata('{"a":NaN}'),
  'metadata-bad-escape': metadata('{"a":"\\x"}'),
  'metadata-bad-unicode-escape': metadata('{"a":"\\u12"}'),
  'metadata-control-character': metadata('{"a":"\x01"}'),
  'metadata-no-colon': metadata('{"a" 1}'),
  'metadata-no-comma': metadata('{"a":1 "b":2}'),
  'metadata-too-deep': metadata(nested(129)),

  // Index.
  'index-ends-inside-entry': one({ name: 'a'.repeat(60) }, { dataOffset: DATA }),
  'name-of-257-bytes': one({ name: 'a'.repeat(257) }),
  'name-not-utf-8': one({ name: Buffer.from([0x61, 0xff]) }),
  'name-of-half-a-character': one({ name: Buffer.from('é').subarray(0, 1) }),
  'name-is-a-lone-surrogate': one({ name: Buffer.from('eda080', 'hex') }),
  'dtype-unknown': one({ dtype: 200 }),
  '9-dimensions': one({ shape: Array<number>(9).fill(1) }),
  'dimension-too-large': one({ shape: [TOO_LARGE] }),
  'offset-too-large': one({ offset: 2n ** 64n - 64n }),
  'size-too-large': one({ size: TOO_LARGE }),
  'shape-overflows': one({ shape: [2 ** 40, 2 ** 40] }),
  'shape-overflows-64-bits': one({ shape: Array<number>(8).fill(2 ** 52) }),
  'size-too-small': one({ shape: [2] }),
  'size-with-padding': one({ data: Buffer.alloc(64), shape: [1] }),
  'size-of-k-quant-wrong': one({ dtype: 'Q4_K', shape: [257], data: Buffer.alloc(144) }),
  'size-of-apr-q8-without-scale': one({ dtype: 'APR_Q8', shape: [4] }),
  'size-0-and-not-tied': one({ shape: [4], data: Buffer.alloc(0) }),
  'offset-misaligned': one({ offset: 4 }),
  'names-unsorted': two({ name: 'b' }, { name: 'a' }),
  'names-sorted-by-utf-16': two({ name: '😀' }, { name: '～' }),
  'name-twice': two({}, { name: 'a' }),
  'second-entry-bad': two({}, { shape: [2] }),

  // Extent.
  'tensor-behind-end': one({ offset: 2 ** 53 - 64 }),
  'file-cut-inside-tensor': one({ data: Buffer.alloc(400) }).subarray(0, DATA + 100),
  'file-cut-inside-checksum': one({ data: Buffer.alloc(64) }).subarray(0, DATA + 64 + 3),
  'tensors-overlap': two({ data: Buffer.alloc(128) }, { offset: 64 }),
  'tensors-share-a-place': two({}, { offset: 0 }),
  'tensor-inside-index': one({ shape: [16], data: Buffer.alloc(64) }, { dataOffset: 128 }),
  'tensor-inside-metadata': buildApr({ dataOffset: METADATA }),

  // Data.
  'checksum-wrong': buildApr({ footer: 0x12345678 }),
  'tensor-changed': changed(buildApr(), DATA),
  'metadata-changed': changed(buildApr(), METADATA + 3),
  'reserved-changed': repairChecksums(changed(buildApr(), 50), false),
  'last-byte-lost': buildApr().subarray(0, -1),
  'bytes-behind-checksum': Buffer.concat([buildApr(), Buffer.alloc(4)]),
  'padding-of-metadata-not-zero': buildApr({ patches: { 127: [1] } }),
  'padding-of-index-not-zero': buildApr({ patches: { 191: [1] } }),
  'padding-of-tensor-not-zero': buildApr({ patches: { 255: [1] } }),
  'padding-between-tensors-not-zero': patchedPair(64, DATA + 70),
  'gap-between-tensors-not-zero': patchedPair(4096, DATA + 4000),
  'gap-before-checksum-not-zero': tailOf(1000, 999),
  'scale-of-q4k-nan': kQuant('Q4_K', 144, 0, 0x7e00),
  'min-of-q4k-infinite': kQuant('Q4_K', 144, 146, 0xfc00),
  'scale-of-q6k-nan': kQuant('Q6_K', 210, 210 + 208, 0x7c01),

  // Good.
  good: buildApr(),
  'no-checksum': buildApr({ footer: false }),
  'no-checksum-no-padding': unpadded(false),
  'no-padding-before-checksum': unpadded(true),
  'gap-of-zeros': patchedPair(4096),
  'gap-before-checksum': tailOf(1000),
  'sections-in-another-order': reversed(),
  'tensors-in-another-order': two({ offset: 64 }, { offset: 0 }),
  'flat-k-quant-matrix': one({ dtype: 'Q4_K', shape: [2, 384], data: Buffer.alloc(3 * 144) }),
  'tied-placeholder': buildApr({
    tensors: [
      { name: 'lm_head.weight', shape: [16, 32], data: Buffer.alloc(0) },
      { name: 'model.embed_tokens.weight', shape: [16, 32], data: f32(...Array<number>(512).fill(0.5)) },
    ],
  }),
  'empty-tensor': two({ shape: [0, 2 ** 52], data: Buffer.alloc(0) }, {}),
  'ids-of-older-files': olderIds(),
  'name-empty': one({ name: '' }),
  'name-of-256-bytes': one({ name: 'é'.repeat(128) }),
  '8-dimensions': one({ shape: Array<number>(8).fill(1) }),
  'names-sorted-by-utf-8': two({ name: '～' }, { name: '😀' }),
  'name-with-a-byte-order-mark': one({ name: '\ufeff' }),
  'name-that-objects-have': one({ name: '__proto__' }),
  'metadata-128-deep': metadata(nested(128)),
  'metadata-key-twice': metadata('{"param_count":1,"\\u0070aram_count":2,"__proto__":3}'),
  'metadata-with-whitespace': metadata(' {\n\t"a" : 1\r\n} '),
  'unknown-flags': buildApr({ flags: 0xf7f8 }),
  'reserved-bytes': buildApr({ reserved: Buffer.alloc(20, 0xa5), minor: 255 }),
}

function changed(file: Buffer, offset: number): Buffer {
  const copy = Buffer.from(file)
  copy[offset] = (copy[offset] ?? 0) ^ 1
  return copy
}

/** Two tensors, the second `distance` bytes behind the first, and a byte that is not zero where a zero belongs. */
function patchedPair(distance: number, patch?: number): Buffer {
  const first = Buffer.alloc(distance)
  first.set(f32(1))
  const file = buildApr({
    tensors: [
      { name: 'a', data: first, shape: [1], size: 4 },
      { name: 'b', data: f32(...Array<number>(distance === 64 ? 1 : 16).fill(2)) },
    ],
    ...(patch !== undefined && { patches: { [patch]: [7] } }),
  })
  return file
}

/** A file with zeros between data and checksum, and one byte of them that is not. */
function tailOf(length: number, patch?: number): Buffer {
  const tail = Buffer.alloc(length)
  if (patch !== undefined) tail[patch] = 7
  return buildApr({ tail })
}

function kQuant(dtype: 'Q4_K' | 'Q6_K', blockBytes: number, offset: number, scale: number): Buffer {
  return one({ dtype, shape: [512], data: superBlocks(blockBytes, 2, offset, scale) })
}

function olderIds(): Buffer {
  return buildApr({
    tensors: [
      { name: 'bf16', dtype: 2, shape: [2], data: Buffer.from('803f0040', 'hex') },
      { name: 'q4', dtype: 8, shape: [32], data: Buffer.alloc(18, 0x3c) },
      { name: 'q8', dtype: 9, shape: [4], data: Buffer.concat([f32(0.5), Buffer.of(1, 2, 3, 255)]) },
    ],
  })
}
