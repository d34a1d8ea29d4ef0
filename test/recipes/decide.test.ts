import { test } from 'tap'
import { arrayKv, kv, kvValue, type GgufModel, type Kv } from '../../dist/formats/formats.js'
import type { DType } from '../../dist/model/dtypes.js'
import type { AprError } from '../../dist/model/errors.js'
import { decideRecipe } from '../../dist/recipes/decide.js'
import { recipeKvs } from '../../dist/recipes/kvs.js'
import type { RecipeSettings } from '../../dist/recipes/settings.js'
import { sized } from '../helpers/golden-recipes.js'

const KVS = [
  kv('general.architecture', 'string', 'llama'),
  kv('llama.block_count', 'u32', 4),
  kv('llama.attention.head_count', 'u32', 8),
]

type Row = readonly [name: string, dtype?: DType, shape?: readonly number[]]

/** A model of some tensors. */
function modelOf(rows: readonly Row[], kvs: readonly Kv[] = KVS): GgufModel {
  const tensors = rows.map(([name, dtype = 'F16', shape = [256, 256]]) => sized(name, dtype, shape))
  return { format: 'gguf', tensors, kvs }
}

function dtypes(rows: readonly Row[], settings: RecipeSettings, kvs?: readonly Kv[]): Record<string, string> {
  return Object.fromEntries(decideRecipe(modelOf(rows, kvs), settings).map(({ to }) => [to.name, to.dtype]))
}

function errorOf(rows: readonly Row[], settings: RecipeSettings, kvs?: readonly Kv[]): AprError {
  try {
    decideRecipe(modelOf(rows, kvs), settings)
  } catch (error) {
    return error as AprError
  }
  throw new Error('nothing was thrown')
}

void test('every decision says what decided', (t) => {
  const rows: Row[] = [
    ['output.weight'],
    ['token_embd.weight'],
    ['blk.0.attn_norm.weight', 'F32', [256]],
    ['blk.0.attn_q_norm.weight', 'F32', [8, 32]],
    ['blk.0.attn_q.bias', 'F32', [2, 256]],
    ['blk.0.attn_v.weight'],
    ['blk.0.attn_k.weight'],
    ['blk.0.ffn_down.weight', 'F16', [256, 96]],
    ['blk.0.ffn_up.weight'],
    ['blk.0.ffn_gate_inp.weight'],
  ]
  const settings: RecipeSettings = {
    name: 'Q4_K_M',
    types: [{ pattern: 'FFN_(up|gate)', dtype: 'Q8_0' }],
    embeddingType: 'F16',
  }
  const told = decideRecipe(modelOf(rows), settings).map(({ to, reason, rule }) => [to.name, to.dtype, reason, rule])
  t.strictSame(told, [
    ['output.weight', 'Q6_K', 'rule', 'output'],
    ['token_embd.weight', 'F16', 'option', 'embeddingType'],
    ['blk.0.attn_k.weight', 'Q4_K', 'rule', 'default of Q4_K_M'],
    ['blk.0.attn_norm.weight', 'F32', 'excluded', 'less than two dimensions'],
    ['blk.0.attn_q.bias', 'F32', 'excluded', 'its name does not end in weight'],
    ['blk.0.attn_q_norm.weight', 'F32', 'excluded', 'a norm'],
    ['blk.0.attn_v.weight', 'Q6_K', 'rule', 'attn_v'],
    ['blk.0.ffn_down.weight', 'Q5_0', 'fallback', 'rows of 96 are not whole blocks of Q4_K'],
    ['blk.0.ffn_gate_inp.weight', 'F16', 'excluded', 'it routes tokens to experts'],
    ['blk.0.ffn_up.weight', 'Q8_0', 'pattern', 'FFN_(up|gate)'],
  ])
  t.end()
})

void test('what stays as it is, is the same tensor; others tell their new size', (t) => {
  const [norm, query] = decideRecipe(modelOf([['blk.0.attn_norm.weight', 'F32', [256]], ['blk.0.attn_q.weight']]), {
    name: 'Q6_K',
  })
  t.equal(norm?.to, norm?.from)
  t.strictSame(query?.to, { name: 'blk.0.attn_q.weight', dtype: 'Q6_K', shape: [256, 256], size: 256 * 210 })
  t.ok(Object.isFrozen(query?.to))
  t.end()
})

void test('first dimensions of 1 are left out, as llama-quantize does', (t) => {
  const rows: Row[] = [
    ['blk.0.attn_q.weight', 'F16', [1, 64, 256]],
    ['blk.1.attn_q.weight', 'F16', [1, 1, 256]],
    ['blk.2.attn_q.weight', 'F16', [2, 1, 256]],
  ]
  const made = decideRecipe(modelOf(rows), { name: 'Q4_K_S' }).map(({ to }) => [to.dtype, to.shape])
  t.strictSame(made, [
    ['Q4_K', [64, 256]],
    ['F16', [256]],
    ['Q4_K', [2, 1, 256]],
  ])
  t.end()
})

void test('all that keeps a recipe from being made is told in one error', (t) => {
  const rows: Row[] = [
    ['token_embd.weight', 'F16', [256, 100]],
    ['blk.0.attn_q.weight', 'Q8_0'],
    ['blk.1.attn_q.weight', 'IQ2_XXS'],
    ['blk.2.attn_q.weight', 'F16', [2, 2, 4, 256]],
    ['blk.3.attn_q.weight', 'I32'],
  ]
  const { code, message } = errorOf(rows, { name: 'Q4_K_M', embeddingType: 'Q8_0' })
  t.equal(code, 'APR_UNSUPPORTED')
  t.equal(
    message,
    'expected tensors that Q4_K_M can be made of, found ' +
      '1 whose rows are not whole blocks of the dtype asked for: token_embd.weight (rows of 100 for Q8_0); ' +
      '1 quantized already, which only `allowRequantize` quantizes again: blk.0.attn_q.weight (Q8_0); ' +
      '2 whose values cannot be read: blk.1.attn_q.weight (IQ2_XXS), blk.3.attn_q.weight (I32); ' +
      '1 of more than three dimensions: blk.2.attn_q.weight ([2, 2, 4, 256])',
  )
  t.end()
})

void test('a long list of tensors is cut', (t) => {
  const rows = Array.from({ length: 30 }, (_, i): Row => [`blk.0.ffn_up.${i}.weight`, 'Q8_0'])
  t.match(errorOf(rows, { name: 'Q6_K' }).message, /found 30 quantized already.*\(Q8_0\) and 10 more$/)
  t.end()
})

void test('what is of its dtype already is copied, and no requantizing', (t) => {
  const rows: Row[] = [
    ['output.weight', 'Q6_K'],
    ['blk.0.attn_q.weight', 'Q4_K'],
  ]
  t.strictSame(dtypes(rows, { name: 'Q4_K_S' }), { 'output.weight': 'Q6_K', 'blk.0.attn_q.weight': 'Q4_K' })
  t.strictSame(dtypes(rows, { name: 'Q5_K_S', allowRequantize: true }), {
    'output.weight': 'Q6_K',
    'blk.0.attn_q.weight': 'Q5_K',
  })
  // Floats count as quantized ones do.
  t.match(errorOf(rows, { name: 'F16' }).message, /found 2 quantized already/)
  t.end()
})

void test('without fallbacks every tensor that would need one is named', (t) => {
  const rows: Row[] = [
    ['token_embd.weight'],
    ['blk.0.attn_q.weight', 'F16', [256, 288]],
    ['blk.0.attn_k.weight', 'F16', [256, 288]],
    ['blk.0.ffn_up.weight'],
  ]
  t.equal(dtypes(rows, { name: 'Q4_K_S' })['blk.0.attn_q.weight'], 'Q5_0')
  t.match(
    errorOf(rows, { name: 'Q4_K_S', fallback: false }).message,
    /found 2 whose rows are not whole blocks: blk\.0\.attn_k\.weight \(rows of 288 for Q4_K\), blk\.0\.attn_q\.weight/,
  )
  t.equal(dtypes(rows, { name: 'Q8_0', fallback: false })['blk.0.attn_q.weight'], 'Q8_0')
  t.end()
})

void test('where blocks of 32 do not fit either a tensor becomes F16', (t) => {
  const rows: Row[] = [
    ['blk.0.attn_q.weight', 'F32', [256, 100]],
    ['blk.0.attn_v.weight', 'F32', [256, 96]],
  ]
  t.strictSame(dtypes(rows, { name: 'Q4_K_S' }), { 'blk.0.attn_q.weight': 'F16', 'blk.0.attn_v.weight': 'Q5_1' })
  t.strictSame(dtypes(rows, { name: 'Q8_0' }), { 'blk.0.attn_q.weight': 'F16', 'blk.0.attn_v.weight': 'Q8_0' })
  t.end()
})

void test('Q2_K_S wants a matrix that tells of every tensor that becomes Q2_K', (t) => {
  const rows: Row[] = [['token_embd.weight'], ['output.weight'], ['blk.3.attn_q.weight'], ['blk.3.attn_k.weight']]
  const lacking = /found 2 that an importance matrix must tell of for Q2_K_S: blk\.3\.attn_k\.weight, blk\.3\.attn_q/
  t.match(errorOf(rows, { name: 'Q2_K_S' }).message, lacking)
  t.match(errorOf(rows, { name: 'Q2_K_S', hasImportance: () => false }).message, lacking)
  const hasImportance = (name: string): boolean => name.startsWith('blk')
  t.equal(dtypes(rows, { name: 'Q2_K_S', hasImportance })['blk.3.attn_q.weight'], 'Q2_K')
  // What is Q2_K already needs no matrix of its own, but there must be one.
  const made: Row[] = [['blk.3.attn_q.weight', 'Q2_K']]
  t.equal(dtypes(made, { name: 'Q2_K_S', hasImportance: () => false })['blk.3.attn_q.weight'], 'Q2_K')
  t.match(errorOf(made, { name: 'Q2_K_S' }).message, /must tell of/)
  t.end()
})

void test('among experts a tensor of the FFN must name its layer', (t) => {
  const kvs = [...KVS, kv('llama.expert_count', 'u32', 4)]
  const rows: Row[] = [['x.ffn_down.weight'], ['blk.4.ffn_up_exps.weight'], ['blk.0.ffn_gate.weight']]
  t.match(
    errorOf(rows, { name: 'Q4_K_M' }, kvs).message,
    /found 2 whose layer cannot be told: x\.ffn_down\.weight \(no layer in its name\), .* \(layer 4 of 4\)$/,
  )
  t.equal(Object.keys(dtypes(rows, { name: 'Q4_K_M', pure: true }, kvs)).length, 3)
  t.equal(Object.keys(dtypes(rows, { name: 'Q4_K_M' })).length, 3)
  t.end()
})

void test('a model that does not say what it is, is refused', (t) => {
  const rows: Row[] = [['token_embd.weight']]
  const [architecture] = KVS
  t.match(errorOf(rows, { name: 'Q4_K_M' }, []), {
    code: 'APR_BAD_METADATA',
    message: 'expected the name of an architecture in "general.architecture", found none',
  })
  t.match(errorOf(rows, { name: 'Q4_K_M' }, architecture ? [architecture] : []), {
    code: 'APR_BAD_METADATA',
    message: 'expected the number of layers in "llama.block_count", found none',
  })
  t.equal(dtypes(rows, { name: 'Q4_0' }, [kv('general.architecture', 'string', 'clip')])['token_embd.weight'], 'Q6_K')
  t.end()
})

void test('patterns are regular expressions of JavaScript, in small letters, and the first that is found counts', (t) => {
  const rows: Row[] = [['blk.0.attn_q.weight'], ['blk.10.attn_q.weight']]
  const types = (...patterns: string[]) => {
    const targets = ['Q8_0', 'Q5_0'] as const
    const rules = patterns.map((pattern, i) => ({ pattern, dtype: targets[i] ?? 'F16' }) as const)
    return dtypes(rows, { name: 'Q4_K_S', types: rules })
  }
  t.strictSame(types('blk\\.1', 'ATTN_Q'), { 'blk.0.attn_q.weight': 'Q5_0', 'blk.10.attn_q.weight': 'Q8_0' })
  t.strictSame(types('^attn'), { 'blk.0.attn_q.weight': 'Q4_K', 'blk.10.attn_q.weight': 'Q4_K' })
  for (const pattern of ['(', '[[:digit:]]', 'a[[.x.]]']) {
    t.throws(() => types(pattern), { code: 'APR_BAD_OPTION', message: /as a pattern of `types`, found/ }, pattern)
  }
  t.end()
})

void test('head counts may be lists with one a layer', (t) => {
  const rows: Row[] = [['blk.0.attn_v.weight']]
  const [architecture, layers] = KVS
  const base = architecture && layers ? [architecture, layers] : []
  const heads = kv('llama.attention.head_count', 'u32', 8)
  const withKvHeads = (...values: number[]) => {
    return [...base, heads, arrayKv('llama.attention.head_count_kv', 'u32', values)]
  }
  t.equal(dtypes(rows, { name: 'Q2_K' }, withKvHeads(2, 8))['blk.0.attn_v.weight'], 'Q4_K')
  t.equal(dtypes(rows, { name: 'Q2_K' }, withKvHeads(4, 1))['blk.0.attn_v.weight'], 'Q3_K')
  t.equal(dtypes(rows, { name: 'Q2_K' }, withKvHeads(0, 1))['blk.0.attn_v.weight'], 'Q3_K')
  t.end()
})

void test('the pairs of a source stay, and what was made comes last', (t) => {
  const source = modelOf(
    [],
    [
      kv('general.file_type', 'u32', 1),
      kv('general.alignment', 'u32', 4096),
      kv('quantize.imatrix.chunks_count', 'u32', 7),
      kv('general.quantization_version', 'u32', 1),
      kv('quantize.imatrix.file', 'string', 'old'),
      kv('general.name', 'string', 'x'),
    ],
  )
  const told = (kvs: readonly Kv[]) => kvs.map((pair) => [pair.key, kvValue(pair)])
  t.strictSame(told(recipeKvs(source, 'Q5_K_S')), [
    ['general.alignment', 4096],
    ['quantize.imatrix.chunks_count', 7],
    ['quantize.imatrix.file', 'old'],
    ['general.name', 'x'],
    ['general.quantization_version', 2],
    ['general.file_type', 16],
  ])
  t.strictSame(told(recipeKvs(source, 'Q5_K_S', { file: 'new', entries: 3 })), [
    ['general.alignment', 4096],
    ['quantize.imatrix.chunks_count', 7],
    ['general.name', 'x'],
    ['general.quantization_version', 2],
    ['general.file_type', 16],
    ['quantize.imatrix.file', 'new'],
    ['quantize.imatrix.entries_count', 3],
  ])
  t.end()
})

void test('names of matrices are cut to 127 bytes, inside of a character too', (t) => {
  const importance = { file: 'a'.repeat(126) + 'é', dataset: 'b'.repeat(127), entries: 1, chunks: 2 }
  const kvs = recipeKvs(modelOf([]), 'Q4_K_M', importance)
  const data = (key: string) => kvs.find((pair) => pair.key === `quantize.imatrix.${key}`)?.data
  t.strictSame(data('file'), new Uint8Array([127, 0, 0, 0, 0, 0, 0, 0, ...Array<number>(126).fill(97), 0xc3]))
  t.equal(data('dataset')?.length, 8 + 127)
  t.end()
})
