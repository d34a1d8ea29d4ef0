import { existsSync, linkSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { verify } from 'apr-stream'
import { abort, finish, part, plan, type BlockReceipt, type PartsPlan, type PartsPlanOptions } from 'apr-stream/parts'
import { filesIn, MemorySource } from '../../helpers/files.js'
import { KIB_64, savePlan, sha256, streamed, writeModel } from '../../helpers/parts.js'

const SIZES = { blockBytes: KIB_64, unitBytes: 2 * KIB_64 }

async function partsOf(made: PartsPlan, units: Iterable<number> = made.units.keys()): Promise<BlockReceipt[]> {
  const receipts: BlockReceipt[] = []
  for (const unit of units) receipts.push(...(await part(made, unit)))
  return receipts
}

void test('finish names the units that lack blocks, and nothing is in place', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const made = await plan(writeModel(folder), output, SIZES)
  const all = [...made.units.keys()]
  t.ok(all.length >= 5, `${all.length} units`)
  await partsOf(made, all.slice(4))
  await part(made, 1)
  await t.rejects(finish(made), {
    code: 'APR_PARTS_MISSING',
    message: `expected the blocks of all ${all.length} units, found some missing of 3: 0, 2, 3`,
  })
  t.notOk(existsSync(output))
  const partial = readFileSync(`${output}.${made.id}.partial`)
  t.ok(
    partial.subarray(0, 64).every((byte) => byte === 0),
    'nobody takes the partial file for a model',
  )
  await t.rejects(verify(`${output}.${made.id}.partial`).then(({ error }) => Promise.reject(error as Error)))
  await partsOf(made)
  await finish(made)
  t.match(await verify(output), { ok: true, footer: 'good' })
})

void test('a unit whose receipt was cut short is made again', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const made = await plan(writeModel(folder), output, SIZES)
  await partsOf(made)
  writeFileSync(`${output}.${made.id}.partial.d/2.json`, '{"block":2,"cr')
  await t.rejects(finish(made), { code: 'APR_PARTS_MISSING', message: /missing of 1: 1/ })
  await part(made, 1)
  await finish(made)
})

void test('an input that is not the planned one is refused by part and by finish', async (t) => {
  for (const when of ['before a part', 'between parts', 'before finish']) {
    const folder = t.testdir()
    const input = writeModel(folder)
    const output = join(folder, 'out.apr')
    const made = await plan(input, output, SIZES)
    if (when === 'between parts') await part(made, 0)
    if (when === 'before finish') await partsOf(made)
    const bytes = readFileSync(input)
    bytes[bytes.length - 5000] = (bytes[bytes.length - 5000] ?? 0) ^ 1
    writeFileSync(input, bytes)
    utimesSync(input, new Date(), new Date(Date.now() + 5000))
    const work: Promise<unknown> = when === 'before finish' ? finish(made) : part(made, 1)
    await t.rejects(work, { code: 'APR_SOURCE_CHANGED' }, when)
    if (when === 'before finish') await t.rejects(finish(made), { code: 'APR_SOURCE_CHANGED' }, 'also again')
    t.notOk(existsSync(output))
    await abort(made)
    t.same(filesIn(folder), ['in.apr'])
  }
})

void test('an input whose checksum is wrong is refused by finish', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const bytes = readFileSync(input)
  // A weight that is another number, and no footer that knows it.
  bytes[bytes.length - 100_000] = (bytes[bytes.length - 100_000] ?? 0) ^ 1
  writeFileSync(input, bytes)
  const made = await plan(input, join(folder, 'out.apr'), SIZES)
  const receipts = await partsOf(made)
  t.ok(receipts.every(({ sources }) => sources !== undefined))
  await t.rejects(finish(made, { receipts }), { code: 'APR_BAD_CRC' })
  t.notOk(existsSync(join(folder, 'out.apr')))
})

void test('a value that cannot be quantized fails the part, with tensor and element', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const bytes = readFileSync(input)
  const index = bytes.length - 900 * 512 * 2 - 3 * 77 * 100 * 2 - 200_000
  bytes.writeFloatLE(NaN, index - (index % 64))
  writeFileSync(input, bytes)
  const made = await plan(input, join(folder, 'out.apr'), SIZES)
  await t.rejects(partsOf(made), { code: 'APR_BAD_VALUE', tensor: 'a.weight', file: input })
})

void test('another plan for the same output keeps to itself; who is second is refused, or replaces with overwrite', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const output = join(folder, 'out.apr')
  const one = await plan(input, output, SIZES)
  const two = await plan(input, output, { ...SIZES, fit: 'minmax' })
  t.not(one.id, two.id)
  await partsOf(one)
  await partsOf(two)
  await finish(one)
  const first = sha256(output)
  await t.rejects(finish(two), { code: 'APR_EXISTS' })
  t.equal(sha256(output), first)
  await abort(two)
  t.same(filesIn(folder), ['in.apr', 'out.apr', `out.apr.${one.id}.done`])
  await t.rejects(plan(input, output, SIZES), { code: 'APR_EXISTS' })

  const three = await plan(input, output, { ...SIZES, fit: 'minmax', overwrite: true })
  await partsOf(three)
  t.equal(sha256(output), first, 'what is there stays until the end')
  t.match(await finish(three), { already: false })
  t.not(sha256(output), first)
  t.same(
    filesIn(folder),
    ['in.apr', 'out.apr', `out.apr.${three.id}.done`],
    'what is said of the other one is true no more',
  )
  await t.rejects(finish(one), { code: 'APR_PARTS_MISSING' })
})

void test('abort removes what the plan has left and nothing else, and ends parts that come later', async (t) => {
  const folder = t.testdir({ 'out.apr.partial': 'of another', 'out.apr.0123456789abcdef.partial': 'of a third' })
  const before = ['in.apr', 'out.apr.0123456789abcdef.partial', 'out.apr.partial']
  const made = await plan(writeModel(folder), join(folder, 'out.apr'), SIZES)
  await part(made, 0)
  await abort(made)
  t.same(filesIn(folder), before)
  await t.rejects(part(made, 1), { code: 'APR_PARTS_MISSING', message: /aborted, or never begun/ })
  await t.rejects(finish(made), { code: 'APR_PARTS_MISSING' })
  await abort(made)
  t.same(filesIn(folder), before)
})

void test('a plan is begun twice without harm, and after an abort anew', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const output = join(folder, 'out.apr')
  const made = await plan(input, output, SIZES)
  await part(made, 0)
  t.same(await plan(input, output, SIZES), made)
  await partsOf(made)
  await abort(made)
  await plan(input, output, SIZES)
  await t.rejects(finish(made), { code: 'APR_PARTS_MISSING' }, 'no receipt of the other file counts')
  await partsOf(made)
  await finish(made)
})

void test('what a plan cannot hold is refused when it is made', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const output = join(folder, 'out.apr')
  const refused: [string, PartsPlanOptions | Record<string, unknown>, RegExp][] = [
    ['a function', { select: () => true }, /found a function, which a plan cannot hold; `only` and `skip`/],
    ['moments', { recipe: 'Q4_K_M', importance: 'moments' }, /no `importance`.*imatrix/],
    ['blocks', { blockBytes: 100_000 }, /multiple of 65,536 bytes, found 100000/],
    ['both', { convert: true, recipe: 'Q4_K_M' }, /no `recipe` with `convert`/],
    ['outtype', { outtype: 'f16' }, /`convert` with `outtype`/],
    ['globs', { recipe: 'Q4_K_M', only: ['*'] }, /no `only` with `recipe`/],
    ['no globs', { only: 'x' }, /array of globs/],
    ['an option that there is not', { splitMaxBytes: 1 }, /expected options among/],
  ]
  for (const [what, options, message] of refused) {
    await t.rejects(plan(input, output, options as PartsPlanOptions), { code: 'APR_BAD_OPTION', message }, what)
  }
  const source = new MemorySource(readFileSync(input)) as unknown as string
  await t.rejects(plan(source, output), { code: 'APR_BAD_OPTION', message: /which other processes cannot open/ })
  await t.rejects(plan('https://user:word@host/model.apr', output), {
    code: 'APR_BAD_OPTION',
    message: /may be secret/,
  })
  linkSync(input, join(folder, 'link.apr'))
  await t.rejects(plan(input, join(folder, 'link.apr'), { overwrite: true }), { code: 'APR_SAME_FILE' })
  await t.rejects(plan(input, join(folder, 'sub', 'out.apr')), { code: 'ENOENT' })
  t.same(filesIn(folder), ['in.apr', 'link.apr'])
})

void test('what is no plan, or one of another version, is refused', async (t) => {
  const folder = t.testdir()
  const made = await savePlan(writeModel(folder), join(folder, 'out.apr'), join(folder, 'job.json'))
  const broken: [unknown, RegExp][] = [
    [undefined, /an object, found undefined/],
    [[], /an object, found an array/],
    [{ ...made, id: '../../../etc' }, /an `id` of 16 digits/],
    [{ ...made, output: '' }, /with `output`/],
    [{ ...made, totalBytes: 0 }, /with `totalBytes`/],
    [{ ...made, blockBytes: 65537 }, /with `blockBytes`/],
    [{ ...made, units: [[0, 1e9]] }, /with `units`/],
    [{ ...made, units: [[1, 2]] }, /with `units`/],
    [{ ...made, sources: [{}] }, /with `sources`/],
  ]
  for (const [value, message] of broken) {
    await t.rejects(part(value as PartsPlan, 0), { code: 'APR_BAD_OPTION', message })
    await t.rejects(abort(value as PartsPlan), { code: 'APR_BAD_OPTION', message })
  }
  await t.rejects(finish({ ...made, version: '0.0.1' }), { code: 'APR_UNSUPPORTED', message: /found one of 0\.0\.1/ })
  await t.rejects(part(made, made.units.length), { code: 'APR_BAD_OPTION', message: /a unit from 0 to/ })
  await t.rejects(part(made, -1), { code: 'APR_BAD_OPTION' })
  await t.rejects(part({ ...made, options: { fit: 'minmax' } }, 0), { code: 'APR_SOURCE_CHANGED' }, 'other bytes')
})

void test('a signal ends a part between its blocks, and what is done is not done again', async (t) => {
  const folder = t.testdir()
  const input = writeModel(folder)
  const made = await plan(input, join(folder, 'out.apr'), { blockBytes: KIB_64, unitBytes: 1e9 })
  const controller = new AbortController()
  let blocks = 0
  const onProgress = (): void => {
    if (++blocks === 3) controller.abort(new Error('enough'))
  }
  await t.rejects(part(made, 0, { signal: controller.signal, onProgress }), { name: 'AbortError' })
  const there = filesIn(`${made.output}.${made.id}.partial.d`).filter((name) => /^\d+\.json$/.test(name)).length
  t.ok(there >= 3 && there < (made.units[0]?.[1] ?? 0), `${there} blocks`)
  await part(made, 0)
  await finish(made)
  await streamed(input, join(folder, 'streamed.apr'))
  t.equal(sha256(made.output), sha256(join(folder, 'streamed.apr')))
  await t.rejects(finish(made, { signal: AbortSignal.abort() }), { name: 'AbortError' })
})
