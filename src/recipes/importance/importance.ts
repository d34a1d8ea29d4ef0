/**
 * Importance matrices: how much each column of a tensor counts, as `llama-imatrix` has measured it. A matrix of a model of
 * many experts takes a hundred megabytes, so only the index is kept; a tensor's values are read when they are asked for.
 */
import type { ByteSource } from '../../model/byte-source.js'
import { AprError, printable } from '../../model/errors.js'
import type { TensorInfo } from '../../model/tensor.js'
import { indexDat } from './dat.js'
import { indexGguf, isGguf } from './gguf.js'
import type { Entry, ImportanceIndex } from './index-of.js'

export interface Importance {
  /** What it was measured with: the first name of several. */
  readonly dataset?: string | undefined
  /** Tensors that it has values of, after `include` and `exclude`. */
  readonly entries: number
  /** Chunks of text that it was measured with; undefined where it does not say, or says none. */
  readonly chunks?: number | undefined
  has(tensorName: string): boolean
  /** Values that it has of a tensor; 0 where it has none. */
  sizeOf(tensorName: string): number
  /**
   * Reads the values of one tensor: width of its rows, times its matrices where it is a stack of them, divided by how often
   * each was measured. A matrix that was never measured has ones.
   * @param start and `size` take a part of them
   * @throws AprError `APR_BAD_VALUE` for a value that is not finite or below 0
   */
  read(tensorName: string, start?: number, size?: number): Promise<Float32Array>
  /** Computes values that are not there yet, so that they can be read. */
  prepare?(): Promise<void>
  /** Reads all values once and checks them, with no more than a part of them in memory. */
  check(): Promise<void>
  /** A second call does nothing. */
  close(): Promise<void>
}

export interface ImportanceOptions {
  /** Parts of names: only tensors whose name has one of them are taken. None: all. */
  readonly include?: readonly string[] | undefined
  /** Parts of names: tensors whose name has one of them are left out. */
  readonly exclude?: readonly string[] | undefined
}

/** Values that are checked at once. */
const CHECKED_VALUES = 64 * 1024

/**
 * Opens an importance matrix, of the GGUF form or the older binary one. Its values are not read yet.
 * @param source is closed with the matrix, and when it is refused
 * @throws AprError for every rule of the two forms that is broken
 */
export async function openImportance(
  source: ByteSource,
  { include = [], exclude = [] }: ImportanceOptions = {},
): Promise<Importance> {
  try {
    const index = await ((await isGguf(source)) ? indexGguf(source) : indexDat(source))
    const isTaken = (name: string): boolean =>
      (include.length === 0 || include.some((part) => name.includes(part))) &&
      !exclude.some((part) => name.includes(part))
    const entries = new Map([...index.entries].filter(([name]) => isTaken(name)))
    return new OpenedImportance(source, { ...index, entries })
  } catch (error) {
    await source.close()
    throw error instanceof AprError ? error.at({ file: source.name }) : error
  }
}

class OpenedImportance implements Importance {
  readonly dataset: string | undefined
  readonly chunks: number | undefined
  readonly #source: ByteSource
  readonly #entries: ReadonlyMap<string, Entry>
  #isClosed = false

  constructor(source: ByteSource, { entries, dataset, chunks }: ImportanceIndex) {
    this.#source = source
    this.#entries = entries
    this.dataset = dataset
    this.chunks = chunks
  }

  get entries(): number {
    return this.#entries.size
  }

  has(tensorName: string): boolean {
    return this.#entries.has(tensorName)
  }

  sizeOf(tensorName: string): number {
    return this.#entries.get(tensorName)?.size ?? 0
  }

  async read(tensorName: string, start = 0, size = this.sizeOf(tensorName) - start): Promise<Float32Array> {
    const entry = this.#entries.get(tensorName)
    if (!entry || start < 0 || start + size > entry.size) {
      throw new Error(`expected importances ${start} to ${start + size} of ${tensorName}, which has not so many`)
    }
    const values = new Float32Array(size)
    await this.#fill(values, tensorName, entry, start)
    return values
  }

  async check(): Promise<void> {
    for (const [name, { size }] of this.#entries) {
      for (let start = 0; start < size; start += CHECKED_VALUES) {
        await this.read(name, start, Math.min(CHECKED_VALUES, size - start))
      }
    }
  }

  /** Fills `target` with the values from `start` on. */
  async #fill(target: Float32Array, tensor: string, { position, size, counts }: Entry, start: number): Promise<void> {
    await this.#source.read(new Uint8Array(target.buffer), position + start * 4)
    const width = size / counts.length
    for (let i = 0; i < target.length;) {
      const matrix = Math.floor((start + i) / width)
      const count = counts[matrix] ?? 0
      const end = Math.min(target.length, (matrix + 1) * width - start)
      // What was never measured may hold anything.
      if (count === 0) target.fill(1, i, end)
      else divide(target, i, end, count)
      i = end
    }
    const wrong = target.findIndex((value) => !(value >= 0 && value < Infinity))
    if (wrong < 0) return
    const value = target[wrong]
    const what = `expected importances of 0 or more that are finite, found ${value}`
    throw new AprError('APR_BAD_VALUE', what, { file: this.#source.name, tensor, element: start + wrong, value })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#source.close()
  }
}

/**
 * A matrix that knows tensors by other names.
 * @param names the names that it knows them by, by the others
 */
export function renamed(importance: Importance, names: ReadonlyMap<string, string>): Importance {
  const { dataset, entries, chunks } = importance
  const nameOf = (name: string): string => names.get(name) ?? name
  return {
    ...{ dataset, entries, chunks },
    has: (name) => importance.has(nameOf(name)),
    sizeOf: (name) => importance.sizeOf(nameOf(name)),
    read: (name, start, size) => importance.read(nameOf(name), start, size),
    check: () => importance.check(),
    close: () => importance.close(),
  }
}

/** A division in f32: of two f32 rounded once from f64, which gives the same. */
function divide(values: Float32Array, start: number, end: number, count: number): void {
  for (let i = start; i < end; i++) values[i] = (values[i] ?? 0) / count
}

/**
 * Whether a tensor is quantized with the matrix: it has an entry, of its size. An entry of another size for the token
 * embedding is passed over, as llama-quantize does.
 * @param name of the entry; another than the tensor's where its block was renumbered
 * @throws AprError `APR_BAD_INDEX` for an entry of another size
 */
export function usesImportance(importance: Importance, tensor: TensorInfo, name = tensor.name): boolean {
  if (!importance.has(name)) return false
  const width = tensor.shape.at(-1) ?? 1
  const matrices = tensor.shape.at(-3) ?? 1
  const found = importance.sizeOf(name)
  if (found === width * matrices) return true
  if (TOKEN_EMBEDDINGS.includes(tensor.name)) return false
  const expected = `importances of ${width} columns of ${matrices} matrices, ${width * matrices} values`
  const what = `expected ${expected}, found ${found} for "${printable(name)}": the importance matrix is another model's`
  throw new AprError('APR_BAD_INDEX', what, { tensor: tensor.name })
}

const TOKEN_EMBEDDINGS = ['token_embd.weight', 'per_layer_token_embd.weight']
