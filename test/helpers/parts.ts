/** Models that are made in parts, here and by processes of their own. */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aprReader, aprWriter, ggufWriter, modelReader, q4k, recipe, toGguf } from 'apr-stream'
import { plan, type PartsPlan, type PartsPlanOptions } from 'apr-stream/parts'
import { cli, start } from './command.js'
import { arbitraryTensor, modelBytes, run } from './files.js'

export const KIB_64 = 64 * 1024

/** A folder of a small Llama in two shards, BF16. */
export const FOLDER = fileURLToPath(new URL('../fixtures/hf/small/models/Golden-Llama-3.2-Instruct', import.meta.url))
export const FOLDER_OPTIONS = { recipe: 'Q4_K_M', pre: 'llama-bpe' } as const

export const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** An APR model of some megabytes, of which no tensor ends where a block does. */
export function writeModel(folder: string, rows = 900, seed = 1): string {
  const path = join(folder, 'in.apr')
  const tensors = [
    arbitraryTensor('a.weight', 'F32', [rows, 700], seed),
    arbitraryTensor('b.bias', 'F32', [333], seed),
    arbitraryTensor('c.weight', 'BF16', [rows, 512], seed),
    arbitraryTensor('d.weight', 'F16', [3, 100, 77], seed),
    arbitraryTensor('e.empty', 'F32', [0, 256], seed),
  ]
  writeFileSync(path, modelBytes({ tensors, metadata: '{"name":"parts"}' }))
  return path
}

/** What the streams make of the two inputs. */
export async function streamed(input: string, output: string): Promise<void> {
  const { pre } = FOLDER_OPTIONS
  const gguf = [toGguf({ pre }), recipe(FOLDER_OPTIONS.recipe), ggufWriter(output)]
  await run(input === FOLDER ? [modelReader(input), ...gguf] : [aprReader(input), q4k(), aprWriter(output)])
}

export const optionsOf = (input: string): PartsPlanOptions => (input === FOLDER ? FOLDER_OPTIONS : {})

/** A plan of small blocks, and the file that it stands in. */
export async function savePlan(
  input: string,
  output: string,
  job: string,
  options: PartsPlanOptions = {},
): Promise<PartsPlan> {
  const sizes = { blockBytes: KIB_64, unitBytes: 2 * KIB_64 }
  const made = await plan(input, output, { ...sizes, ...optionsOf(input), ...options })
  writeFileSync(job, JSON.stringify(made))
  return made
}

/** Runs units by so many processes at once, each as soon as one is free. What is killed is run again. */
export async function partsByProcesses(job: string, units: readonly number[], processes: number): Promise<void> {
  const left = [...units]
  await Promise.all(
    Array.from({ length: processes }, async () => {
      for (let unit = left.shift(); unit !== undefined; unit = left.shift()) {
        const { code, stderr } = await cli(['part', job, '--unit', String(unit), '--threads', '1'])
        if (code !== 0) throw new Error(`unit ${unit}: ${stderr}`)
      }
    }),
  )
}

export const startPart = (job: string, unit: number): ReturnType<typeof start> =>
  start(['part', job, '--unit', String(unit), '--threads', '1'])
