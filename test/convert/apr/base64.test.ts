import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { fromBase64, toBase64 } from '../../../dist/convert/apr/base64.js'

void test('bytes become the base64 that Node makes, and come back', (t) => {
  for (const length of [0, 1, 2, 3, 4, 5, 255, 256, 12287, 12288, 12289, 40000]) {
    const bytes = randomBytes(length)
    t.equal(toBase64(bytes), bytes.toString('base64'))
    t.strictSame(Buffer.from(fromBase64(toBase64(bytes)) ?? []), bytes)
  }
  t.end()
})

void test('a text that is no base64 is none', (t) => {
  for (const text of ['A', 'AAA', 'A===', '?AAA', 'AA=A', 'AAAA\n']) t.equal(fromBase64(text), undefined, text)
  t.end()
})
