import { test } from 'tap'
import { aprModelOf } from '../../dist/convert/apr/to-apr.js'
import { readConfig } from '../../dist/convert/config/read-config.js'
import { planTensors } from '../../dist/convert/plan-tensors.js'
import type { AprModel, SafetensorsModel } from '../../dist/formats/formats.js'
import { decideModel } from '../../dist/recipes/hf-decisions.js'
import type { RecipeDecision, RecipeSettings } from '../../dist/recipes/settings.js'
import { goldenExpected, goldenFolder, goldenModels, type GoldenExpected } from '../helpers/golden-hf.js'
import { convertedModel, sized } from '../helpers/golden-recipes.js'
import { loadHf, type LoadedHf } from '../helpers/hf-folder.js'

type Quantized = GoldenExpected & {
  readonly quantize: Readonly<Record<string, { readonly types: Readonly<Record<string, string>> }>>
}

function safetensorsModel({ hf }: LoadedHf): SafetensorsModel {
  return { format: 'safetensors', metadata: {}, ...hf }
}

/** Decisions by source name. */
function decided(model: AprModel | SafetensorsModel, settings: RecipeSettings): Map<string, RecipeDecision> {
  return new Map(decideModel(model, settings).map((decision) => [decision.from.name, decision]))
}

/** Models whose rows are whole super-blocks. */
const WHOLE = ['Golden-Llama-3.2-Instruct', 'Mixtral-3x400K-v0.1', 'golden-qwen3-f16', 'tiny-mistral-v0.3']

for (const name of WHOLE) {
  void test(`${name} with its own names gets the dtypes that it gets as GGUF`, async (t) => {
    const loaded = await loadHf(goldenFolder(name))
    const { quantize } = (await goldenExpected(name)) as Quantized
    const decisions = decided(aprModelOf(safetensorsModel(loaded)), { name: 'Q4_K_M' })
    const targets = planTensors(readConfig(loaded.hf), loaded.hf, 'auto').tensors
    const different = targets.flatMap(({ tensor, pieces }) => {
      const isKept = quantize['Q4_K_M']?.types[tensor.name] === tensor.dtype
      return pieces.filter(({ source }) => {
        const { from, to, reason } = decisions.get(source) ?? {}
        // What stays as it is keeps the dtype of the source, which need not be that of the GGUF file.
        return isKept ? from !== to || reason !== 'excluded' : to?.dtype !== quantize['Q4_K_M']?.types[tensor.name]
      })
    })
    t.strictSame(different, [])
    t.strictSame([...decisions.keys()].length, loaded.hf.tensors.length)
    t.end()
  })
}

void test('in APR rows are padded, but not those of an embedding', async (t) => {
  const model = aprModelOf(safetensorsModel(await loadHf(goldenFolder('Golden-Qwen2.5-0.9M-Instruct'))))
  t.throws(() => decided(model, { name: 'Q4_K_M' }), {
    code: 'APR_UNSUPPORTED',
    message:
      'expected tensors that Q4_K_M can be made of, found 1 of dtypes that the output cannot hold: ' +
      'model.embed_tokens.weight (Q8_0)',
  })
  const decisions = decided(model, { name: 'Q4_K_M', embeddingType: 'F16' })
  t.equal(decisions.get('model.embed_tokens.weight')?.to.dtype, 'F16')
  const query = decisions.get('model.layers.0.self_attn.q_proj.weight')
  t.equal(query?.reason, 'rule')
  t.strictSame([query?.to.dtype, query?.to.shape, query?.to.size], ['Q4_K', [288, 288], 288 * 2 * 144])
  t.equal([...decisions.values()].filter(({ reason }) => reason === 'fallback').length, 0)
  t.end()
})

void test('a recipe of dtypes that APR does not hold is refused, with every tensor', async (t) => {
  const model = aprModelOf(safetensorsModel(await loadHf(goldenFolder('tiny-mistral-v0.3'))))
  const blocks = model.tensors.filter(({ name }) => /proj\.weight$/.test(name)).length
  t.throws(() => decided(model, { name: 'Q5_K_S' }), {
    code: 'APR_UNSUPPORTED',
    message: new RegExp(`found ${blocks} of dtypes that the output cannot hold: .* \\(Q5_K\\)`),
  })
  t.end()
})

void test('an APR model with GGUF names is decided by them', async (t) => {
  const { convert, quantize } = (await goldenExpected('Golden-Llama-3.2-Instruct')) as Quantized
  const gguf = convertedModel(convert)
  const apr = aprModelOf(gguf)
  const types = [...decided(apr, { name: 'Q4_K_M' })].map(([name, { to }]) => [name, to.dtype])
  t.strictSame(Object.fromEntries(types), quantize['Q4_K_M']?.types)
  t.strictSame(
    types.map(([name]) => name),
    apr.tensors.map(({ name }) => name),
  )
  t.end()
})

void test('a tied output that stands for the embedding stays, a copy of it becomes what the embedding becomes', async (t) => {
  const model = aprModelOf(safetensorsModel(await loadHf(goldenFolder('tiny-mistral-v0.3'))))
  const embedding = model.tensors.find(({ name }) => name === 'model.embed_tokens.weight')
  const head = sized('lm_head.weight', 'BF16', embedding?.shape ?? [])
  const metadata = model.metadata.replace(/^\{/, '{"tied_embeddings":true,')
  const copied = decided({ ...model, metadata, tensors: [...model.tensors, head] }, { name: 'Q4_K_M' })
  t.equal(copied.get('model.embed_tokens.weight')?.to.dtype, 'Q6_K')
  t.equal(copied.get('lm_head.weight')?.to.dtype, 'Q6_K')
  const placeholder = { ...head, size: 0 }
  const tied = decided({ ...model, metadata, tensors: [...model.tensors, placeholder] }, { name: 'Q4_K_M' })
  t.strictSame(tied.get('lm_head.weight'), {
    from: placeholder,
    to: placeholder,
    reason: 'excluded',
    rule: 'it stands for another tensor',
  })
  t.end()
})

void test('each expert knows its matrix in an importance matrix', async (t) => {
  const model = aprModelOf(safetensorsModel(await loadHf(goldenFolder('Mixtral-3x400K-v0.1'))))
  const decisions = decided(model, { name: 'Q4_K_M' })
  for (const expert of [0, 1, 2]) {
    const { place } = decisions.get(`model.layers.1.block_sparse_moe.experts.${expert}.w2.weight`) ?? {}
    t.strictSame(place, { entry: 'blk.1.ffn_down_exps.weight', matrix: expert })
  }
  const query = decisions.get('model.layers.1.self_attn.q_proj.weight')
  t.strictSame(query?.place, { entry: 'blk.1.attn_q.weight', matrix: 0 })
  t.end()
})

void test('what is quantized already is refused by its own name, and taken when that is allowed', async (t) => {
  const model = aprModelOf(safetensorsModel(await loadHf(goldenFolder('tiny-mistral-v0.3'))))
  const tensors = decideModel(model, { name: 'Q4_K_M' }).map(({ to }) => to)
  const quantized = { ...model, tensors }
  t.strictSame(
    decideModel(quantized, { name: 'Q4_K_M' }).filter(({ from, to }) => from !== to),
    [],
  )
  t.throws(() => decideModel(quantized, { name: 'Q6_K' }), {
    message: /quantized already.*: .*model\.layers\.0\.self_attn\.q_proj\.weight \(Q4_K\)/,
  })
  const allowed = decided(quantized, { name: 'Q6_K', allowRequantize: true })
  t.equal(allowed.get('model.layers.0.self_attn.q_proj.weight')?.to.dtype, 'Q6_K')
  t.end()
})

void test('a Hugging Face folder can become of other floats by recipe', async (t) => {
  for (const name of goldenModels()) {
    const model = safetensorsModel(await loadHf(goldenFolder(name)))
    const decisions = decideModel(model, { name: 'F16' })
    const others = decisions.filter(({ reason, to }) => reason !== 'excluded' && to.dtype !== 'F16')
    t.strictSame(others, [], name)
    t.ok(decisions.some(({ to }) => to.dtype === 'F16'))
  }
  t.end()
})
