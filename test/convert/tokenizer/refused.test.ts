import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { tokenizerKvs, type TokenizerKind } from '../../../dist/convert/tokenizer/tokenizer.js'
import { goldenFolder } from '../../helpers/golden-hf.js'

type Files = Map<string, Uint8Array>
type Fields = Record<string, unknown>

async function folder(path: string): Promise<Files> {
  const files: Files = new Map()
  for (const name of await fs.readdir(path)) {
    if (name.endsWith('.json')) files.set(name, await fs.readFile(join(path, name)))
  }
  return files
}

/** Changes a JSON file. */
function edit(files: Files, name: string, change: (fields: Fields) => void): Files {
  const fields = JSON.parse(String(files.get(name))) as Fields
  change(fields)
  return new Map([...files, [name, Buffer.from(JSON.stringify(fields))]])
}

function convert(files: Files, { pre, kind = 'llama' }: { pre?: string; kind?: TokenizerKind } = {}): () => unknown {
  const config = JSON.parse(String(files.get('config.json'))) as Fields
  const vocabSize = config['vocab_size'] as number
  return () => tokenizerKvs(files, { kind, vocabSize, config, pre })
}

const hostile = (name: string): Promise<Files> => folder(join('test/fixtures/hf/hostile/folders', name))
const llama = (): Promise<Files> => folder(goldenFolder('tiny-llama-f32'))

void test('a folder without a tokenizer is refused', async (t) => {
  const files = await hostile('17-no-tokenizer')
  t.throws(convert(files, { pre: 'smollm' }), {
    code: 'APR_BAD_METADATA',
    message: /tokenizer\.json or tokenizer\.model/,
  })
  const phi = new Map([...(await llama())].filter(([name]) => name !== 'tokenizer.model'))
  t.throws(convert(phi, { kind: 'phi' }), { code: 'APR_BAD_METADATA', message: /expected tokenizer\.model/ })
  const tekken = new Map([...files, ['tekken.json', Buffer.from('{}')]])
  t.throws(convert(tekken), { code: 'APR_UNSUPPORTED', message: /tekken\.json/ })
})

void test('vocab.json and merges.txt are refused where their class reads more than these, and where they are broken', (t) => {
  const folderOf = (settings: Fields, merges = '#version: 0.2\na b\n'): Files =>
    new Map([
      ['config.json', Buffer.from('{"model_type":"llama","vocab_size":3}')],
      ['vocab.json', Buffer.from('{"a":0,"b":1,"ab":2}')],
      ['merges.txt', Buffer.from(merges)],
      ['tokenizer_config.json', Buffer.from(JSON.stringify(settings))],
    ])
  const others: [Fields, RegExp][] = [
    [{}, /of another one; save the tokenizer with transformers/],
    [{ tokenizer_class: 'CodeGenTokenizer' }, /those of CodeGenTokenizer;/],
    [{ tokenizer_class: 'GPT2Tokenizer', add_bos_token: true }, /those of one that adds tokens/],
  ]
  for (const [settings, message] of others) {
    t.throws(convert(folderOf(settings), { pre: 'gpt-2' }), { code: 'APR_UNSUPPORTED', message })
  }
  for (const merges of ['a b c\n', 'a\n', 'a b\n\nab a\n']) {
    const broken = convert(folderOf({ tokenizer_class: 'GPT2Tokenizer' }, merges), { pre: 'gpt-2' })
    t.throws(broken, { code: 'APR_BAD_METADATA', message: /two texts and a space in each line of merges\.txt/ })
  }
  const alone = new Map([...folderOf({})].filter(([name]) => name !== 'merges.txt'))
  t.throws(convert(alone), { code: 'APR_BAD_METADATA', message: /tokenizer\.json or tokenizer\.model/ })
  t.end()
})

void test('ids that the vocabulary has no room for are refused', async (t) => {
  const files = await hostile('10-token-id-too-large')
  t.throws(convert(files, { pre: 'smollm' }), {
    code: 'APR_BAD_METADATA',
    message: /below vocab_size 280 .* found 289/,
  })
})

void test('a vocabulary of a size that there is none of is refused', async (t) => {
  for (const size of [0, -1, 1.5, 1e9, 1e300]) {
    const files = edit(await llama(), 'config.json', (fields) => (fields['vocab_size'] = size))
    t.throws(convert(files, { pre: 'smollm' }), { code: 'APR_BAD_METADATA', message: /vocab_size .* 16777216, found / })
  }
})

void test('an id that is none, that two tokens have, or that is not the next one is refused', async (t) => {
  const files = await llama()
  const change = (work: (vocabulary: Record<string, unknown>, added: Fields[]) => void): (() => unknown) =>
    convert(
      edit(files, 'tokenizer.json', (fields) => {
        const { vocab } = fields['model'] as { vocab: Record<string, unknown> }
        work(vocab, fields['added_tokens'] as Fields[])
      }),
      { pre: 'smollm' },
    )
  t.throws(
    change((vocabulary) => (vocabulary['the'] = -1)),
    { code: 'APR_BAD_METADATA', message: /found -1/ },
  )
  t.throws(
    change((vocabulary) => (vocabulary['the'] = 'x')),
    { code: 'APR_BAD_METADATA', message: /found the text "x"/ },
  )
  t.throws(
    change((vocabulary) => (vocabulary['the'] = vocabulary['th'])),
    {
      code: 'APR_BAD_METADATA',
      message: /one token with the id \d+/,
    },
  )
  const misplaced = change((_, added) => added.push({ id: 5000, content: '<new>', special: true }))
  t.throws(misplaced, { code: 'APR_BAD_METADATA', message: /"<new>" to have the id \d+, the next one, found 5000/ })
})

void test('a vocabulary that is not known is refused with its hash and the names that may be given', async (t) => {
  const error = { code: 'APR_UNSUPPORTED', message: /the hash [0-9a-f]{64}; say with `pre`.*: .*llama-bpe.*tekken/ }
  t.throws(convert(await llama()), error)
})

void test('a name that llama.cpp does not know is refused', async (t) => {
  const error = { code: 'APR_BAD_OPTION', message: /\(kimi-k2, .*\), found lama/ }
  t.throws(convert(await llama(), { pre: 'lama' }), error)
})

void test('parts of a tokenizer that are not known are refused where the pre-tokenizer is to be found', async (t) => {
  const files = await llama()
  for (const part of ['pre_tokenizer', 'normalizer']) {
    const odd = edit(files, 'tokenizer.json', (fields) => (fields[part] = { type: 'Odd' }))
    t.throws(convert(odd), { code: 'APR_UNSUPPORTED', message: new RegExp(`${part} .* found Odd`) })
    t.doesNotThrow(convert(odd, { pre: 'smollm' }))
  }
  const regex = { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }
  const broken = edit(files, 'tokenizer.json', (fields) => (fields['pre_tokenizer'] = regex))
  t.throws(convert(broken), { code: 'APR_UNSUPPORTED', message: /pattern .* found \(/ })
})

void test('a vocabulary of another kind than byte pairs is refused', async (t) => {
  const pieces = { type: 'Unigram', vocab: [['a', 0]] }
  const files = edit(await llama(), 'tokenizer.json', (fields) => (fields['model'] = pieces))
  t.throws(convert(files, { pre: 'smollm' }), { code: 'APR_UNSUPPORTED', message: /byte pairs/ })
})

void test('merges of another form are refused', async (t) => {
  for (const merge of [7, ['a'], ['a', 'b', 'c'], ['a', 1]]) {
    const files = edit(await llama(), 'tokenizer.json', (fields) => {
      ;(fields['model'] as { merges: unknown[] }).merges[1] = merge
    })
    t.throws(convert(files, { pre: 'smollm' }), { code: 'APR_BAD_METADATA', message: /merges/ }, JSON.stringify(merge))
  }
})

void test('tokenizer.json that is cut anywhere, or is no UTF-8, is refused', async (t) => {
  const files = await llama()
  const whole = files.get('tokenizer.json') ?? new Uint8Array()
  const json = (bytes: Uint8Array): (() => unknown) =>
    convert(new Map([...files, ['tokenizer.json', bytes]]), { pre: 'smollm' })
  t.doesNotThrow(json(whole))
  for (let size = 0; size < whole.length - 1; size += 41) {
    t.throws(json(whole.subarray(0, size)), { code: 'APR_BAD_METADATA', message: /tokenizer\.json/ }, `${size} bytes`)
  }
  for (const mark of ['"merges":', '"vocab":']) {
    const odd = Uint8Array.from(whole)
    odd[Buffer.from(whole).indexOf(mark) + mark.length + 2] = 0xff
    t.throws(json(odd), { code: 'APR_BAD_METADATA', message: /tokenizer\.json/ }, mark)
  }
})

void test('tokenizer.model that is cut, or none, is refused', async (t) => {
  const config: [string, Uint8Array] = ['config.json', Buffer.from('{"vocab_size":420}')]
  const whole = await fs.readFile('test/fixtures/tokenizers/llama.model')
  const model = (bytes: Uint8Array): (() => unknown) => convert(new Map([config, ['tokenizer.model', bytes]]))
  t.doesNotThrow(model(whole))
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('version https'),
    whole.subarray(0, 1001),
    Buffer.alloc(99, 0xff),
  ]) {
    t.throws(model(bytes), { code: 'APR_BAD_METADATA', message: /tokenizer\.model/ })
  }
})
