import { test } from 'tap'
import { tokenizerFile } from '../../../../dist/convert/tokenizer/sources/tokenizer-file.js'
import { Vocab } from '../../../../dist/convert/tokenizer/sources/vocab.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const entries = (text: string): [string, number][] => {
  const found: [string, number][] = []
  const vocab = new Vocab(bytes(text))
  vocab.each((place, id) => found.push([vocab.stringAt(place), id]))
  return found
}

void test('a vocabulary is read as JSON.parse reads it', (t) => {
  const texts = [
    '{}',
    '{ }',
    '{"a":0}',
    '{\n  "a" : 0 ,\t"b":\r12345\n}',
    String.raw`{"\"":0,"\\":1,"\u0120a":2,"é":3,"\ud83d\ude00":4,"😀b":5,"":6,"__proto__":7,"{[,:]}":8,"\ufeff":9}`,
    JSON.stringify(Object.fromEntries(Array.from({ length: 5000 }, (_, id) => [`t${id * 7}`, id]))),
  ]
  for (const text of texts) {
    const wanted = new Map(
      JSON.parse(text, undefined) ? Object.entries(JSON.parse(text) as Record<string, number>) : [],
    )
    t.strictSame(new Map(entries(text)), wanted)
    const vocab = new Vocab(bytes(text))
    t.equal(vocab.size, wanted.size)
    for (const [token, id] of wanted) t.equal(vocab.idOf(token), id)
    t.equal(vocab.idOf('constructor'), undefined)
  }
  t.end()
})

void test('of a text that is there twice the last one counts, however it is written', (t) => {
  const text = String.raw`{"a":0,"b":1,"\u0061":2}`
  t.strictSame(entries(text), [
    ['b', 1],
    ['a', 2],
  ])
  t.equal(new Vocab(bytes(text)).size, 2)
  t.equal(new Vocab(bytes(text)).idOf('a'), 2)
  t.end()
})

void test('what is no vocabulary is refused', (t) => {
  const ids = ['-1', '1.5', '1e3', '"1"', 'null', '[1]', '{}', '01', '', 'x', '1 2']
  const broken = [
    '',
    '[]',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{,}',
    '{"a":1}x',
    '{"a" 1}',
    '{a:1}',
    '{"a":1 "b":2}',
  ]
  const texts = [String.raw`{"\x":1}`, String.raw`{"\ud800":1}`, '{"a\n":1}', '{"a:1}', '{"a\\']
  for (const text of [...ids.map((id) => `{"a":${id}}`), ...broken, ...texts]) {
    t.throws(() => new Vocab(bytes(text)), { code: 'APR_BAD_METADATA' }, text)
  }
  t.throws(() => new Vocab(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)), { code: 'APR_BAD_METADATA' })
  t.end()
})

void test('vocabulary and merges of tokenizer.json are read where they stand, in either order, behind a byte order mark', (t) => {
  for (const model of ['"vocab":{"a":0},"merges":["a b"]', '"merges":["a b"],"vocab":{"a":0}']) {
    for (const mark of ['', '\ufeff']) {
      const file = tokenizerFile(new Map([['tokenizer.json', bytes(`${mark}{"x":1,"model":{${model},"y":2}}`)]]))
      t.equal(file?.vocab()?.idOf('a'), 0)
      const merges: string[] = []
      file?.merges.eachOf(undefined, (left, right) => merges.push(`${left} ${right}`))
      t.strictSame(merges, ['a b'])
      t.strictSame(file?.json, { x: 1, model: { vocab: {}, merges: [], y: 2 } })
    }
  }
  t.end()
})
