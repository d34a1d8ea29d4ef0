/** Hugging Face folders, and what llama.cpp's converter makes of them. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import fs from 'fs-extra'

const ROOT = 'test/fixtures/hf/small'

export interface GoldenTensor {
  readonly name: string
  /** Fastest first. */
  readonly dims: readonly number[]
  readonly dtype: string
  readonly offset: number
  readonly bytes: number
  readonly sha256: string
}

export interface GoldenFile {
  readonly bytes: number
  readonly sha256: string
}

export interface GoldenExpected {
  /** The name of the pre-tokenizer to give: these tokenizers are none that is known. */
  readonly pre: string
  /** Ids of the text that llama.cpp goes on from. */
  readonly prompt: number[]
  readonly convert: GoldenFile & {
    /** The ids that it goes on with. */
    readonly greedy: { readonly ids: readonly number[]; readonly sameOnAllThreeCpuBuilds: boolean }
    readonly kv: readonly { readonly key: string; readonly type: string; readonly value: unknown }[]
    readonly tensors: readonly GoldenTensor[]
  }
  /** The same conversion, cut into files of 9 tensors. */
  readonly convertSplit: { readonly files: readonly (GoldenFile & { readonly name: string })[] }
  /** The model cut by llama-gguf-split. */
  readonly split: { readonly source: { readonly files: readonly GoldenFile[] } }
  readonly outtypes: Readonly<
    Record<'f32' | 'f16' | 'bf16' | 'q8_0', GoldenFile & { readonly types: Readonly<Record<string, string>> }>
  >
}

/** Names of the small models. */
export function goldenModels(): string[] {
  return readdirSync(join(ROOT, 'models')).sort()
}

/** The folder of a model. */
export function goldenFolder(name: string): string {
  return join(ROOT, 'models', name)
}

export async function goldenExpected(name: string): Promise<GoldenExpected> {
  return (await fs.readJson(join(ROOT, 'expected', `${name}.json`))) as GoldenExpected
}

/** What stands beside a model's tensors. */
export async function goldenSideFiles(name: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  for (const file of await fs.readdir(goldenFolder(name))) {
    if (!file.includes('.safetensors')) files.set(file, await fs.readFile(join(goldenFolder(name), file)))
  }
  return files
}
