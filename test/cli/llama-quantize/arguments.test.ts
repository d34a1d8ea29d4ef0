import { kvValue, type Kv } from 'apr-stream'
import { test } from 'tap'
import { readArguments, type LlamaQuantizeArguments } from '../../../dist/cli/llama-quantize/arguments.js'

const read = (line: string, file = ''): LlamaQuantizeArguments =>
  readArguments(
    line.split(' ').filter((word) => word !== ''),
    (path) => {
      if (path !== 'types.txt') throw new Error(`no file ${path}`)
      return file
    },
  )

const refused = [
  ['', /expected a model and a type/],
  ['model.gguf', /expected a model and a type/],
  ['--help', /expected a model and a type/],
  ['--pure Q4_K_M', /behind the options/],
  ['--whatever model.gguf Q4_K_M', /unknown option --whatever/],
  ['model.gguf out.gguf', /expected a type behind the output, found none/],
  ['model.gguf out.gguf Q4_X', /expected a type, found Q4_X/],
  ['model.gguf Q4_K_M many', /expected a number of threads, found many/],
  ['model.gguf out.gguf Q4_K_M 99999999999', /expected a number of threads/],
  ['--pure --imatrix', /expected a value behind --imatrix/],
  ['--output-tensor-type U8 model.gguf Q4_K_M', /expected a tensor type, found U8/],
  ['--token-embedding-type q4_k_m model.gguf Q4_K_M', /expected a tensor type/],
  ['--tensor-type attn_q model.gguf Q4_K_M', /expected PATTERN=TYPE/],
  ['--tensor-type =q8_0 model.gguf Q4_K_M', /expected a pattern/],
  ['--tensor-type attn_q= model.gguf Q4_K_M', /expected a type behind/],
  ['--tensor-type attn_q=x=q8_0 model.gguf Q4_K_M', /found x=q8_0/],
  ['--tensor-type-file other.txt model.gguf Q4_K_M', /no file other.txt/],
  ['--prune-layers 1,x model.gguf Q4_K_M', /expected numbers of layers, found x/],
  ['--prune-layers -1 model.gguf Q4_K_M', /found -1/],
  ['--prune-layers 1,,2 model.gguf Q4_K_M', /expected numbers of layers/],
  ['--override-kv a:int=1 model.gguf Q4_K_M', /expected KEY=TYPE:VALUE/],
  ['--override-kv a=bool:yes model.gguf Q4_K_M', /expected true or false/],
  [`--override-kv a=str:${'x'.repeat(128)} model.gguf Q4_K_M`, /at most 127 bytes/],
  [`--override-kv ${'k'.repeat(128)}=int:1 model.gguf Q4_K_M`, /a key of 1 to 127 bytes/],
  ['--max-buffer-size 0 model.gguf Q4_K_M', /--max-buffer-size/],
  ['--include-weights a --exclude-weights b model.gguf Q4_K_M', /cannot be used together/],
] as const

for (const [line, message] of refused) {
  void test(`llama-quantize ${line} is refused`, (t) => {
    t.throws(() => read(line), { message })
    t.end()
  })
}

void test('a model, an output, a type and a number of threads', (t) => {
  t.match(read('in.gguf out.gguf q4_k_m 8'), {
    ...{ input: 'in.gguf', output: 'out.gguf', fileType: 'Q4_K_M', threads: 8 },
    ...{ pure: false, keepSplit: false, pruneLayers: [], types: [], imatrix: '' },
  })
  t.equal(read('in.gguf out.gguf Q4_K_M').threads, undefined)
  t.equal(read('in.gguf out.gguf Q4_K_M 0').threads, undefined)
  // Behind the model nothing is an option.
  t.match(read('in.gguf --pure Q4_K'), { output: '--pure', pure: false })
  t.equal(read('in.gguf out.gguf Q4_K_M 3x and more').threads, 3)
  t.end()
})

void test('an output that is left out stands beside the model, named by its type', (t) => {
  t.match(read('dir/in.gguf Q4_K 2'), { output: 'dir/ggml-model-Q4_K.gguf', fileType: 'Q4_K', threads: 2 })
  t.equal(read('in.gguf 14').output, 'ggml-model-Q4_K_S.gguf')
  t.equal(read('a/b\\in.gguf COPY').output, 'a/b\\ggml-model-COPY.gguf')
  t.equal(read('--keep-split a/in.gguf Q8_0').output, 'a/ggml-model-Q8_0')
  t.equal(read('--dry-run in.gguf Q8_0').output, undefined)
  t.equal(read('--dry-run in.gguf out.gguf Q8_0').output, 'out.gguf')
  t.end()
})

void test('numbers and texts that start with one are types', (t) => {
  t.equal(read('in.gguf 0').fileType, 'F32')
  t.equal(read('in.gguf 7b.gguf').fileType, 'Q8_0')
  t.equal(read('in.gguf out.gguf 15').fileType, 'Q4_K')
  t.equal(read('in.gguf out.gguf +1').fileType, 'F16')
  t.equal(read('in.gguf out.gguf iq2_xxs').fileType, 'IQ2_XXS')
  t.throws(() => read('in.gguf out.gguf 99'), { code: 'APR_BAD_OPTION' })
  t.end()
})

void test('outputs in parts lose the ending of their name', (t) => {
  t.equal(read('--keep-split in.gguf out.gguf Q8_0').output, 'out')
  t.equal(read('--keep-split in.gguf out Q8_0').output, 'out')
  t.equal(read('--keep-split in.gguf out.ggufs.part Q8_0').output, 'out.ggufs')
  t.end()
})

void test('every option', (t) => {
  const line = [
    '--allow-requantize --leave-output-tensor --pure --keep-split --dry-run --max-buffer-size 64',
    '--imatrix im.gguf --include-weights ffn --include-weights --pure --output-tensor-type Q8_0',
    '--token-embedding-type bf16 --tensor-type ATTN_[KV]=q6_K --tensor-type-file types.txt',
    '--tensor-type x=iq4_NL --prune-layers 4,1,04 in.gguf out Q4_K_M',
  ].join(' ')
  t.match(read(line, 'a=q4_0\n  b.*=Q5_1\tc=f16'), {
    ...{ allowRequantize: true, leaveOutput: true, pure: true, keepSplit: true, dryRun: true },
    ...{ imatrix: 'im.gguf', include: ['ffn', '--pure'], exclude: [], outputType: 'Q8_0', embeddingType: 'BF16' },
    types: [
      { pattern: 'attn_[kv]', dtype: 'Q6_K' },
      { pattern: 'a', dtype: 'Q4_0' },
      { pattern: 'b.*', dtype: 'Q5_1' },
      { pattern: 'c', dtype: 'F16' },
      { pattern: 'x', dtype: 'IQ4_NL' },
    ],
    pruneLayers: [1, 4],
  })
  t.end()
})

void test('overrides have the types that llama-quantize writes', (t) => {
  const overrides: [text: string, type: Kv['type'], value: unknown][] = [
    ['int:-7', 'u32', 7],
    ['int:12 of them', 'u32', 12],
    ['int:many', 'u32', 0],
    ['int:4294967297', 'u32', 1],
    ['float:0.1', 'f32', Math.fround(0.1)],
    ['float:-1e-3', 'f32', Math.fround(-1e-3)],
    ['float:.5e1x', 'f32', 5],
    ['float:1e99', 'f32', Infinity],
    ['float:-inf', 'f32', -Infinity],
    ['float:0x1.8p3', 'f32', 12],
    ['float:none', 'f32', 0],
    ['bool:true', 'bool', true],
    ['bool:false', 'bool', false],
    ['str:', 'string', ''],
    ['str:a=b:c', 'string', 'a=b:c'],
  ]
  for (const [text, type, value] of overrides) {
    const { overrides: found } = readArguments(['--override-kv', `key=${text}`, 'in.gguf', 'F16'], () => '')
    t.strictSame(
      found.map((pair) => [pair.key, pair.type, kvValue(pair)]),
      [['key', type, value]],
      text,
    )
  }
  t.end()
})
