import { test } from 'tap'
import { fuzz } from './fuzz.js'

void test('no damage to a file leads to a crash, a hang, a waste of memory or an output', async (t) => {
  const { findings, counts } = await fuzz({ cases: 2000, seed: 1, folder: t.testdir({}) })
  t.strictSame(
    findings.map(({ index, what }) => `case ${index}: ${what}`),
    [],
  )
  // All the way: files that are good, that are found out at every stage, and outputs that are written.
  for (const outcome of ['written', 'APR_BAD_CRC', 'APR_BAD_INDEX', 'APR_BAD_METADATA', 'APR_TRUNCATED', 'APR_LIMIT']) {
    t.ok((counts[outcome] ?? 0) > 10, `${outcome}: ${counts[outcome] ?? 0}`)
  }
})
