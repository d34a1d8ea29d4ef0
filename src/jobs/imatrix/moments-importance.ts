/** Importance that a job computes from the weights of its own input: told of at once, computed when it is needed. */
import { columnsOf, matricesOf } from '../../model/tensor.js'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fs from 'fs-extra'
import { openFile } from '../../files/open-source.js'
import type { OpenedModel } from '../../formats/format.js'
import { openImportance, type Importance } from '../../recipes/importance/importance.js'
import type { Progress } from '../job.js'
import { importanceOfWeights, weighing, type ImportanceOfWeights, type WeightsOptions } from './from-weights.js'
import { DATASET, writeMatrix } from './write-matrix.js'

export interface MomentsOptions extends WeightsOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

export class MomentsImportance implements Importance {
  readonly dataset = DATASET
  readonly entries: number
  /** What a file tells of it, and what names its values. */
  readonly origin: { readonly file: string; readonly version: string | undefined }
  readonly #weights: ImportanceOfWeights
  readonly #options: MomentsOptions
  readonly #sizes: ReadonlyMap<string, number>
  #opened: Promise<Importance> | undefined
  /** Holds the values: those of a model with many experts take a hundred megabytes. */
  #folder: string | undefined

  private constructor(weights: ImportanceOfWeights, version: string | undefined, options: MomentsOptions) {
    this.#weights = weights
    this.#options = options
    this.#sizes = new Map(weights.tensors.map((tensor) => [tensor.name, matricesOf(tensor) * columnsOf(tensor)]))
    this.entries = this.#sizes.size
    this.origin = { file: 'moments', version: version === undefined ? undefined : `moments of ${version}` }
  }

  /** @throws AprError for a model whose moments cannot be told */
  static async of(opened: OpenedModel, options: MomentsOptions): Promise<MomentsImportance> {
    return new MomentsImportance(await importanceOfWeights(opened, options), opened.version, options)
  }

  has(tensorName: string): boolean {
    return this.#sizes.has(tensorName)
  }

  sizeOf(tensorName: string): number {
    return this.#sizes.get(tensorName) ?? 0
  }

  async read(tensorName: string, start?: number, size?: number): Promise<Float32Array> {
    return await (await this.#matrix()).read(tensorName, start, size)
  }

  async prepare(): Promise<void> {
    await this.#matrix()
  }

  async check(): Promise<void> {
    await (await this.#matrix()).check()
  }

  async close(): Promise<void> {
    try {
      await (await this.#opened?.catch(() => undefined))?.close()
    } finally {
      if (this.#folder !== undefined) await fs.remove(this.#folder)
    }
  }

  #matrix(): Promise<Importance> {
    return (this.#opened ??= this.#compute())
  }

  async #compute(): Promise<Importance> {
    const { signal, onProgress } = this.#options
    this.#folder = await fs.mkdtemp(join(tmpdir(), 'apr-stream-'))
    const file = join(this.#folder, 'imatrix.gguf')
    const values = this.#weights.values({ signal, onRead: onProgress && weighing(this.#weights, onProgress) })
    await writeMatrix(file, this.#weights.tensors, values, { overwrite: false, signal })
    return await openImportance(await openFile(file))
  }
}
