import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { dequantizeQ4K } from 'apr-stream'

const fixture = (name: string): Buffer => readFileSync(new URL(`fixtures/q4k/${name}`, import.meta.url))

void test('Q4_K blocks decode to the values that llama.cpp decodes', (t) => {
  const values = dequantizeQ4K(fixture('q4k-search.bin'))
  t.equal(Buffer.compare(Buffer.from(values.buffer), fixture('q4k-search.dequantized.f32')), 0)
  t.end()
})
