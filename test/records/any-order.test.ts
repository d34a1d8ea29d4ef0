/** The records of a tensor come in any order, between those of other tensors, and each byte once. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'tap'
import { aprReader, aprWriter, type TensorRecord } from 'apr-stream'
import { arbitraryTensor, filesIn, MemorySource, modelBytes, sameBytes } from '../helpers/files.js'
import { randomBits } from '../helpers/random.js'

const MODEL = modelBytes({
  tensors: [
    arbitraryTensor('a', 'F32', [40, 256], 1),
    arbitraryTensor('b', 'F32', [31, 300], 2),
    arbitraryTensor('c', 'I8', [7], 3),
    arbitraryTensor('empty', 'F16', [0, 4], 4),
  ],
})

async function records(): Promise<TensorRecord[]> {
  const found: TensorRecord[] = []
  for await (const record of aprReader(new MemorySource(MODEL), { recordBytes: 2000 })) {
    found.push({ ...record, data: record.data.slice() })
  }
  return found
}

function shuffled<T>(values: T[], seed: number): T[] {
  const random = randomBits(seed)
  return values
    .map((value) => ({ value, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ value }) => value)
}

void test('records in any order give the same file, its checksum too', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const expected = join(t.testdirName, 'in-order.apr')
  await pipeline(Readable.from(await records()), aprWriter(expected))
  for (let seed = 1; seed <= 20; seed++) {
    const mixed = shuffled(await records(), seed)
    await pipeline(Readable.from(mixed), aprWriter(output, { overwrite: true, highWaterMark: seed * 1000 }))
    sameBytes(t, readFileSync(output), readFileSync(expected), `order ${seed}`)
  }
  await pipeline(Readable.from((await records()).reverse()), aprWriter(output, { overwrite: true }))
  sameBytes(t, readFileSync(output), readFileSync(expected), 'from the last to the first')
})

void test('a gap, an overlap and bytes outside the tensor are refused by name', async (t) => {
  const folder = t.testdir()
  const all = await records()
  const third = all[2]
  if (!third) throw new Error('there are records')
  const rest = all.filter((record) => record !== third)
  const at = (offset: number) => [...rest, { ...third, offset }]
  const first = all.find(({ name, offset }) => name === 'b' && offset === 0)
  const cases: [RegExp, TensorRecord[]][] = [
    [/expected 40960 bytes, found \d+ before the end of the stream; those from \d+ on are missing/, rest],
    [/expected each of the tensor's bytes once, found those from \d+ to \d+ again/, at(third.offset - 4)],
    [/expected each of the tensor's bytes once, found those from \d+ to \d+ again/, at(third.offset + 4)],
    [/expected at most 40960 bytes, found/, at(40960 - 4)],
    [/expected 37200 bytes, found \d+ before the end of the stream; those from 0 on/, all.filter((r) => r !== first)],
  ]
  for (const [message, given] of cases) {
    const copies = given.map((record) => ({ ...record, data: record.data.slice() }))
    const work = pipeline(Readable.from(copies), aprWriter(join(folder, 'out.apr')))
    await t.rejects(work, { code: 'APR_BAD_RECORD', message, tensor: /^[ab]$/ }, String(message))
  }
  t.same(filesIn(folder), [])
})
