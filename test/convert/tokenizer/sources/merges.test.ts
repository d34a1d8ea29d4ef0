import { test } from 'tap'
import { Merges } from '../../../../dist/convert/tokenizer/sources/merges.js'
import { valueRange } from '../../../../dist/convert/tokenizer/sources/json-bytes.js'
import { kvValue } from '../../../../dist/formats/formats.js'

const merges = (json: string): Merges => new Merges(Buffer.from(json))
const texts = (json: string): unknown => kvValue(merges(json).toKv('merges'))

void test('merges are texts as they stand there, and pairs joined with their spaces as U+0120', (t) => {
  t.strictSame(texts('[]'), [])
  t.strictSame(texts(' [ ] '.trim()), [])
  t.strictSame(texts('["a b", "c d"]'), ['a b', 'c d'])
  t.strictSame(texts('["a  b","ab","a b c",""]'), ['a  b', 'ab', 'a b c', ''])
  t.strictSame(texts('[["a","b"] , [ "c d" , " " ],["",""]]'), ['a b', 'c\u0120d \u0120', ' '])
  t.strictSame(texts('["\\u0120 \\"","é \\\\",["\\n","😀\\ud83d\\ude00"]]'), ['\u0120 "', 'é \\', '\n 😀😀'])
  t.end()
})

void test('the merges of texts are found, with their ranks', (t) => {
  const found: unknown[] = []
  const list = merges('["a b",["c","d"],"x y",["\\u0061","b"],"e f g"]')
  list.eachOf(new Set(['ab', 'xy', 'ef']), (...one) => found.push(one))
  t.strictSame(found, [
    ['a', 'b', 0],
    ['x', 'y', 2],
    ['a', 'b', 3],
  ])
  let all = 0
  list.eachOf(undefined, () => all++)
  t.equal(all, 5)
  t.end()
})

void test('lists of another form are refused', (t) => {
  for (const json of [
    '[1]',
    '["a b",]',
    '["a b" "c d"]',
    '[["a"]]',
    '[["a","b","c"]]',
    '["a b]',
    '["\u0001 b"]',
    '["\\x"]',
  ]) {
    t.throws(() => texts(json), { code: 'APR_BAD_METADATA', message: /merges/ }, json)
  }
  t.throws(() => new Merges(Uint8Array.of(0x5b, 0x22, 0xff, 0x22, 0x5d)), { code: 'APR_BAD_METADATA' })
  t.end()
})

void test('a value is found in JSON as bytes: of a key that is there twice the last one', (t) => {
  const find = (json: string, ...path: string[]): string | undefined => {
    const bytes = Buffer.from(json)
    const range = valueRange(bytes, path)
    return range && bytes.toString('utf8', range.start, range.end)
  }
  t.equal(find('{"a":1,"b":[2,{"a":3}]}', 'b'), '[2,{"a":3}]')
  t.equal(find(' { "a" : { "b" : "}\\"" , "c":null} } ', 'a', 'b'), '"}\\""')
  t.equal(find('{"a":{"b":1},"a":{"b":2}}', 'a', 'b'), '2')
  t.equal(find('{"\\u0061":7}', 'a'), '7')
  t.equal(find('{"é":true,"a":-1e3}', 'a'), '-1e3')
  for (const json of ['', '[]', '{', '{"a"', '{"a"}', '{}', '{"b":1}', '"a"', '{"a'])
    t.equal(find(json, 'a'), undefined, json)
  t.end()
})
