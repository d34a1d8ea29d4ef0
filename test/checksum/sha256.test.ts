import { createHash, randomBytes } from 'node:crypto'
import { test } from 'tap'
import { sha256 } from '../../dist/checksum/sha256.js'

void test('SHA-256 of every length around a block is that of node:crypto', (t) => {
  for (let length = 0; length < 200; length++) {
    const bytes = randomBytes(length)
    t.equal(sha256(bytes), createHash('sha256').update(bytes).digest('hex'), `${length} bytes`)
  }
  const large = new Uint8Array(100_003).fill(0xff)
  t.equal(sha256(large), createHash('sha256').update(large).digest('hex'))
  t.end()
})
