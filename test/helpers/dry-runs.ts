/** What recipes are asked for on models of real shapes, and llama.cpp's answers, which a fixture holds. */
import { gunzipSync } from 'node:zlib'
import fs from 'fs-extra'
import { BLOCK_DTYPES } from '../../dist/quant/block.js'
import { RECIPE_NAMES } from '../../dist/recipes/names.js'
import type { RecipeDecision, RecipeSettings } from '../../dist/recipes/settings.js'

const FIXTURE = 'test/fixtures/recipes/dry-runs.json.gz'

const WAYS: Readonly<Record<string, Omit<RecipeSettings, 'name'>>> = {
  plain: {},
  pure: { pure: true },
  matrix: { hasImportance: () => true },
  // Layers that a pattern takes do not count for the rules of the others.
  types: {
    types: [
      { pattern: 'blk\\.[0-3]\\.attn_(v|qkv)', dtype: 'Q8_0' },
      { pattern: 'blk\\..?1\\.ffn_down', dtype: 'IQ4_XS' },
      { pattern: 'ffn_(down|gate)_(exps|shexp)', dtype: 'Q5_1' },
      { pattern: 'per_layer_token', dtype: 'Q4_0' },
    ],
    embeddingType: 'Q8_0',
  },
  output: { outputType: 'Q5_0', leaveOutput: false },
  left: { leaveOutput: true, hasImportance: () => true, pure: true },
}

export interface DryRun {
  readonly key: string
  readonly settings: RecipeSettings
}

/** Every recipe in every way; the one that needs a matrix always with one. */
export const DRY_RUNS: readonly DryRun[] = RECIPE_NAMES.flatMap((name) => {
  return Object.entries(WAYS).map(([way, rest]) => {
    const hasImportance = name === 'Q2_K_S' ? (): boolean => true : rest.hasImportance
    return { key: `${name} ${way}`, settings: { ...rest, name, hasImportance } }
  })
})

/** Letters by which dtypes are written down, one a tensor. */
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const DTYPES: readonly string[] = [...BLOCK_DTYPES, 'F16', 'BF16', 'F32']

/** Names and dtypes in the order of writing, as a text: one letter a tensor. */
export function lettersOf(dtypes: readonly string[]): string {
  return dtypes.map((dtype) => LETTERS[DTYPES.indexOf(dtype)] ?? '?').join('')
}

export function answerOf(decisions: readonly RecipeDecision[]): string {
  return lettersOf(decisions.map(({ to }) => to.dtype))
}

/** llama.cpp's answers, by model and run. */
export type Answers = Readonly<Record<string, Readonly<Record<string, string>>>>

export async function readAnswers(): Promise<Answers> {
  return JSON.parse(gunzipSync(await fs.readFile(FIXTURE)).toString()) as Answers
}

export const ANSWERS_FILE = FIXTURE
