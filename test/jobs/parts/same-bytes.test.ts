import { join } from 'node:path'
import { test } from 'tap'
import { convert, quantize } from 'apr-stream'
import { abort, finish, part, plan, type PartProgress } from 'apr-stream/parts'
import { cli } from '../../helpers/command.js'
import { filesIn } from '../../helpers/files.js'
import {
  FOLDER,
  KIB_64,
  optionsOf,
  partsByProcesses,
  savePlan,
  sha256,
  streamed,
  writeModel,
} from '../../helpers/parts.js'

const shuffled = (count: number): number[] => {
  const units = Array.from({ length: count }, (_, i) => i)
  return units.map((unit, i) => units[(i * 7 + 3) % count] ?? unit)
}

for (const [name, inputOf] of [
  ['APR to APR', (folder: string) => writeModel(folder)],
  ['a folder to Q4_K_M', () => FOLDER],
] as const) {
  void test(`${name}: the streams, one process of parts and three make one file`, async (t) => {
    const folder = t.testdir()
    const input = inputOf(folder)
    const output = (of: string): string => join(folder, `${of}.${input === FOLDER ? 'gguf' : 'apr'}`)
    await streamed(input, output('streamed'))
    const expected = sha256(output('streamed'))

    const options = { blockBytes: KIB_64, unitBytes: 2 * KIB_64, ...optionsOf(input) }
    const one = await plan(input, output('one'), options)
    t.ok(one.units.length >= 3, `${one.units.length} units`)
    // Any order, one twice, two at once; each must be here before the end.
    const order = shuffled(one.units.length)
    for (const unit of order) await part(one, unit, { threads: 1 })
    const [first = 0, second = 1] = order
    await Promise.all([part(one, first), part(one, second), part(one, second)])
    const finished = await finish(one)
    t.equal(sha256(output('one')), expected)
    t.match(finished, { output: output('one'), bytes: one.totalBytes, already: false })
    t.match(await finish(one), { ...finished, already: true }, 'a second time')
    t.same(await part(one, 0), [], 'a part that is late')

    const job = join(folder, 'job.json')
    const three = await savePlan(input, output('three'), job)
    t.equal(three.id === one.id, true, 'the plan of the same bytes has the same name')
    await partsByProcesses(job, [...shuffled(three.units.length), 0], 3)
    t.equal((await cli(['finish', job])).code, 0)
    t.equal(sha256(output('three')), expected)
    const own = [output('one'), output('three')].map((path) => `${path}.${one.id}.done`)
    for (const path of filesIn(folder).filter((file) => file.includes(one.id))) t.ok(own.includes(join(folder, path)))
    await abort(one)
    t.equal(sha256(output('one')), expected, 'what is in its place stays')
    t.same(
      filesIn(folder).filter((file) => file.startsWith('one.')),
      [`one.${input === FOLDER ? 'gguf' : 'apr'}`],
    )
  })
}

void test('what is there is not made again, and progress counts it', async (t) => {
  const folder = t.testdir()
  const made = await savePlan(writeModel(folder), join(folder, 'out.apr'), join(folder, 'job.json'))
  const seen: PartProgress[] = []
  const first = await part(made, 1)
  const again = await part(made, 1, { onProgress: (progress) => seen.push(progress) })
  t.same(again, first)
  const [from = 0, end = 0] = made.units[1] ?? []
  t.match(seen.at(-1), { blocks: end - from, totalBlocks: end - from, bytes: (end - from) * KIB_64 })
  t.equal(seen.at(-1)?.bytes, seen.at(-1)?.totalBytes)
  t.same(
    first.map(({ block }) => block),
    Array.from({ length: end - from }, (_, i) => from + i),
  )
  await abort(made)
})

void test('a conversion, a choice by patterns and other fits are planned as they are done at once', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const inParts = async (from: string, name: string, options: Parameters<typeof plan>[2]): Promise<string> => {
    const made = await plan(from, join(folder, name), { blockBytes: KIB_64, ...options })
    for (const unit of made.units.keys()) await part(made, unit)
    await finish(made)
    return sha256(join(folder, name))
  }
  await convert(FOLDER, join(folder, 'converted.gguf'), { outtype: 'f16', pre: 'llama-bpe' })
  const options = { convert: true, outtype: 'f16', pre: 'llama-bpe' } as const
  t.equal(await inParts(FOLDER, 'parts.gguf', options), sha256(join(folder, 'converted.gguf')))

  await quantize(input, join(folder, 'picked.apr'), {
    fit: 'minmax',
    kept: 'f32',
    select: ({ name }) => name === 'c.weight',
  })
  t.equal(
    await inParts(input, 'globs.apr', { fit: 'minmax', kept: 'f32', only: ['*.weight'], skip: ['a*', 'd.*'] }),
    sha256(join(folder, 'picked.apr')),
  )
})

void test('a small output has one unit without blocks, and finish makes all of it', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder, 3)
  await streamed(input, join(folder, 'streamed.apr'))
  const made = await plan(input, join(folder, 'out.apr'))
  t.same(made.units, [[0, 0]])
  t.same(await part(made, 0), [])
  await finish(made)
  t.equal(sha256(join(folder, 'out.apr')), sha256(join(folder, 'streamed.apr')))
})

void test('blocks of another size, of a plan of the same bytes, are not taken for those of this one', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  await streamed(input, join(folder, 'streamed.apr'))
  const output = join(folder, 'out.apr')
  const first = await plan(input, output, { blockBytes: KIB_64, unitBytes: 2 * KIB_64 })
  for (const unit of first.units.keys()) await part(first, unit)
  const second = await plan(input, output, { blockBytes: 2 * KIB_64, unitBytes: 4 * KIB_64 })
  await t.rejects(finish(second), { code: 'APR_PARTS_MISSING' })
  for (const unit of second.units.keys()) await part(second, unit)
  await finish(second)
  t.equal(sha256(output), sha256(join(folder, 'streamed.apr')))
})
