import { test } from 'tap'
import { fuzz } from './fuzz.js'

void test('no damage to a file leads to a crash, a hang, a waste of memory or an output', async (t) => {
  const { findings, counts } = await fuzz({ cases: 6000, seed: 1, folder: t.testdir({}) })
  t.strictSame(
    findings.map(({ index, what }) => `case ${index}: ${what}`),
    [],
  )
  // All the way: files that are good, that are found out at every stage, and outputs that are written.
  const everywhere = ['written', 'APR_BAD_INDEX', 'APR_BAD_METADATA', 'APR_TRUNCATED', 'APR_LIMIT']
  const expected = {
    '.apr': [...everywhere, 'APR_BAD_CRC'],
    '.gguf': [...everywhere, 'APR_BAD_PADDING', 'APR_UNSUPPORTED'],
    '.safetensors': ['written', 'APR_BAD_INDEX', 'APR_TRUNCATED', 'APR_LIMIT', 'APR_BAD_HEADER'],
  }
  for (const [extension, outcomes] of Object.entries(expected)) {
    for (const outcome of outcomes) {
      const count = counts[`${extension} ${outcome}`] ?? 0
      t.ok(count > 10, `${extension} ${outcome}: ${count}`)
    }
  }
})
