import fc from 'fast-check'
import { test } from 'tap'
import { utf8Bytes } from '../../dist/model/utf8.js'

void test('the bytes of any text are counted as they are written', (t) => {
  const texts = fc.array(fc.constantFrom('a', '\0', '\x7f', 'é', '߿', 'ࠀ', '漢', '￿', '\u{1f600}', '\ud800', '\udfff'))
  fc.assert(fc.property(texts, (parts) => utf8Bytes(parts.join('')) === Buffer.from(parts.join('')).length))
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => utf8Bytes(text) === Buffer.byteLength(text)))
  t.pass()
  t.end()
})
