import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { BlockReceipt, PartsPlan } from '../../dist/parts/blocks.js'
import { blockCount, blockRange } from '../../dist/parts/cut.js'
import { FileSink } from '../../dist/parts/file-sink.js'
import { crc32 } from '../../dist/checksum/crc32.js'

const ID = '0123456789abcdef'
const BYTES = Buffer.from(Array.from({ length: 3 * 65536 + 100 }, (_, i) => (i * 7 + (i >> 8)) & 255))

const planIn = (folder: string, overwrite = false): PartsPlan => ({
  ...{ id: ID, version: '1', input: 'in', output: join(folder, 'out'), overwrite, options: {}, sources: [] },
  ...{ totalBytes: BYTES.length, blockBytes: 65536, units: [[0, 3]] },
})

async function put(plan: PartsPlan, block: number, sink = new FileSink(plan)): Promise<BlockReceipt> {
  const { start, size } = blockRange(plan, block)
  const bytes = BYTES.subarray(start, start + size)
  const receipt = await sink.put({ block, crc32: crc32(bytes), sources: [] }, bytes)
  await sink.close()
  return receipt
}

async function putAll(plan: PartsPlan): Promise<BlockReceipt[]> {
  const receipts: BlockReceipt[] = []
  for (let block = blockCount(plan) - 1; block >= 0; block--) receipts.unshift(await put(plan, block))
  return receipts
}

void test('blocks of several sinks become the file, whose first bytes come last', async (t) => {
  const folder = t.testdir()
  const plan = planIn(folder)
  const sink = new FileSink(plan)
  await sink.begin(plan)
  const receipts = await putAll(plan)
  t.same(await sink.have(0, 4), receipts)
  t.same(await sink.have(1, 3), receipts.slice(1, 3))
  const partial = `${plan.output}.${ID}.partial`
  t.ok(readFileSync(partial).subarray(0, 64).equals(Buffer.alloc(64)))
  t.ok(readFileSync(partial).subarray(64).equals(BYTES.subarray(64)))
  t.equal(await sink.finished(), undefined)
  const finished = { output: plan.output, bytes: BYTES.length, crc32: crc32(BYTES) }
  t.same(await sink.complete(receipts, crc32(BYTES)), { ...finished, already: false })
  t.ok(readFileSync(plan.output).equals(BYTES))
  t.same(await new FileSink(plan).finished(), { ...finished, already: true })
  t.same(readdirSync(folder), ['out', `out.${ID}.done`])
})

void test('a plan that was killed while it made room is begun again', async (t) => {
  const folder = t.testdir({ [`out.${ID}.partial`]: '' })
  const plan = planIn(folder)
  await new FileSink(plan).begin(plan)
  t.equal(statSync(`${plan.output}.${ID}.partial`).size, BYTES.length)
  await new FileSink(plan).complete(await putAll(plan), 1)
  t.ok(readFileSync(plan.output).equals(BYTES))
})

void test('receipts of another file of the same name do not count', async (t) => {
  const folder = t.testdir()
  const plan = planIn(folder)
  await new FileSink(plan).begin(plan)
  await putAll(plan)
  const partial = `${plan.output}.${ID}.partial`
  writeFileSync(`${partial}.copy`, Buffer.alloc(BYTES.length))
  renameSync(`${partial}.copy`, partial)
  const sink = new FileSink(plan)
  t.same(await sink.have(0, 4), [])
  await t.rejects(sink.complete([], 0), { code: 'APR_PARTS_MISSING' })
  t.notOk(existsSync(plan.output))
})

void test('what says that all is done is believed of the very file only', async (t) => {
  const folder = t.testdir()
  const plan = planIn(folder)
  await new FileSink(plan).begin(plan)
  await new FileSink(plan).complete(await putAll(plan), 1)
  writeFileSync(`${plan.output}.new`, Buffer.alloc(BYTES.length))
  renameSync(`${plan.output}.new`, plan.output)
  t.equal(await new FileSink(plan).finished(), undefined)
})

void test('a new output is for no more eyes than the input, and one that is replaced keeps its permissions', async (t) => {
  const folder = t.testdir({ usual: '' })
  writeFileSync(join(folder, 'usual'), '', { mode: 0o666 })
  for (const [mode, overwrite, expected] of [
    [0o640, false, 0o640],
    [0o777, true, 0o640],
  ] as const) {
    const plan = planIn(folder, overwrite)
    await new FileSink(plan).begin(plan)
    t.equal(statSync(`${plan.output}.${ID}.partial`).mode & 0o777, 0o600)
    await new FileSink(plan).complete(await putAll(plan), 1, mode)
    t.equal(statSync(plan.output).mode & 0o777, expected & statSync(join(folder, 'usual')).mode)
  }
})
