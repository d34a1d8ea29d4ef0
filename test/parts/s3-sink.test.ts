/** Blocks of an output that become an object: on a real server. */
import { randomBytes, randomInt } from 'node:crypto'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import { test, type Test } from 'tap'
import { crc32 } from '../../dist/checksum/crc32.js'
import type { BlockReceipt, PartsPlan } from '../../dist/parts/blocks.js'
import { blockRange } from '../../dist/parts/cut.js'
import { S3Sink } from '../../dist/parts/s3-sink.js'
import { startS3, type S3Server } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

const MIB = 1024 * 1024
const PATIENCE = { retries: 6, waitMs: 50 }
const skip = notThere('versitygw')

interface Made {
  readonly s3: S3Server
  readonly bytes: Buffer
  readonly plan: PartsPlan
  readonly blocks: number
}

async function make(t: Test, overwrite = false): Promise<Made> {
  const s3 = await startS3(t)
  const bytes = randomBytes(23 * MIB + 77)
  const plan: PartsPlan = {
    ...{ id: '0123456789abcdef', version: '1', input: 'in', output: `s3://${s3.bucket}/folder/out.apr`, overwrite },
    ...{ options: {}, totalBytes: bytes.length, blockBytes: 5 * MIB, units: [[0, 4]], sources: [] },
  }
  return { s3, bytes, plan, blocks: Math.ceil(bytes.length / plan.blockBytes) }
}

function blockOf({ bytes, plan }: Made, block: number): { receipt: BlockReceipt; data: Buffer } {
  const { start, size } = blockRange(plan, block)
  const data = bytes.subarray(start, start + size)
  return { receipt: { block, crc32: crc32(data) }, data }
}

async function putAll(made: Made, sink: S3Sink): Promise<BlockReceipt[]> {
  const receipts: BlockReceipt[] = []
  for (const block of [...Array(made.blocks).keys()].sort(() => randomInt(3) - 1)) {
    const { receipt, data } = blockOf(made, block)
    receipts[block] = await sink.put(receipt, data)
  }
  return receipts
}

void test('blocks in any order become one object, visible only when it is whole', { skip }, async (t) => {
  const made = await make(t)
  const { s3, bytes } = made
  const plan = await new S3Sink(made.plan).begin(made.plan)
  t.match(plan.upload, /^whole:/)
  t.equal((await new S3Sink(plan).begin(plan)).upload, plan.upload, 'begun once')
  const sink = new S3Sink(plan)
  t.same(await sink.have(0, made.blocks), [])
  t.equal(await sink.finished(), undefined)
  const receipts = await putAll(made, sink)
  // Again, and by somebody who knows nothing but the plan.
  const { receipt, data } = blockOf(made, 2)
  await new S3Sink(JSON.parse(JSON.stringify(plan)) as PartsPlan).put(receipt, data)
  t.same(
    (await sink.have(1, 3)).map(({ block, crc32: crc }) => ({ block, crc32: crc })),
    [1, 2].map((block) => blockOf(made, block).receipt),
  )
  t.same(s3.keys(), [])
  const whole = crc32(bytes)
  const finished = await sink.complete(receipts, whole)
  t.same(finished, { output: plan.output, bytes: bytes.length, crc32: whole, already: false, checks: 'whole' })
  t.ok(s3.object('folder/out.apr')?.equals(bytes))
  t.same(await s3.openUploads(), [])
  // Once more, as after an answer that was lost.
  t.same(await sink.complete(receipts, whole), finished)
  t.same(await new S3Sink(plan).finished(), { output: plan.output, bytes: bytes.length, crc32: whole, already: true })
  await sink.abort()
  t.ok(s3.object('folder/out.apr')?.equals(bytes), 'what is whole stays')
})

void test('blocks that the store would refuse in the end are refused at the start', { skip }, async (t) => {
  const { plan, s3 } = await make(t)
  const small = { ...plan, blockBytes: 64 * 1024 }
  await t.rejects(new S3Sink(small).begin(small), { code: 'APR_BAD_OPTION', message: /`blockBytes`/ })
  t.same(await s3.openUploads(), [])
})

void test('receipts without what the store has given are completed by what it lists', { skip }, async (t) => {
  const made = await make(t)
  const plan = await new S3Sink(made.plan).begin(made.plan)
  const sink = new S3Sink(plan)
  const receipts = (await putAll(made, sink)).map(({ block, crc32: crc }) => ({ block, crc32: crc }))
  await sink.complete(receipts, crc32(made.bytes))
  t.ok(made.s3.object('folder/out.apr')?.equals(made.bytes))
})

void test('bytes that are not those of their checksum are refused', { skip }, async (t) => {
  const made = await make(t)
  const plan = await new S3Sink(made.plan).begin(made.plan)
  const sink = new S3Sink(plan, { retries: 1, waitMs: 10 })
  const { receipt, data } = blockOf(made, 1)
  await t.rejects(sink.put({ ...receipt, crc32: (receipt.crc32 ^ 1) >>> 0 }, data), {
    code: 'APR_REMOTE',
    message: /expected S3 to take part 2 within 2 tries, found BadDigest \(status 400\) \(file s3:\/\/models\/folder/,
  })
  t.same(await sink.have(0, 9), [])
  await sink.abort()
  t.same(await made.s3.openUploads(), [])
})

void test('an object that came meanwhile is not replaced', { skip }, async (t) => {
  const made = await make(t)
  const { s3 } = made
  const plan = await new S3Sink(made.plan).begin(made.plan)
  const sink = new S3Sink(plan)
  const receipts = await putAll(made, sink)
  await s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: 'folder/out.apr', Body: 'another' }))
  await t.rejects(sink.complete(receipts, crc32(made.bytes)), { code: 'APR_EXISTS' })
  await t.rejects(sink.begin(made.plan), { code: 'APR_EXISTS' })
  t.equal(await sink.finished(), undefined)
  t.equal(s3.object('folder/out.apr')?.toString(), 'another')
  t.same(await s3.openUploads(), ['folder/out.apr'])
  const over = new S3Sink({ ...plan, overwrite: true })
  await over.complete(receipts, crc32(made.bytes))
  t.ok(s3.object('folder/out.apr')?.equals(made.bytes))
  t.same(await s3.openUploads(), [])
})

void test('an upload that was aborted is told, before and while parts are put', { skip }, async (t) => {
  const made = await make(t)
  const plan = await new S3Sink(made.plan).begin(made.plan)
  const sink = new S3Sink(plan, PATIENCE)
  const { receipt, data } = blockOf(made, 0)
  await sink.put(receipt, data)
  await new S3Sink(plan).abort()
  await new S3Sink(plan).abort()
  const gone = { code: 'APR_PARTS_MISSING' }
  await t.rejects(sink.put(receipt, data), gone)
  await t.rejects(sink.have(0, 9), gone)
  await t.rejects(sink.complete([receipt], receipt.crc32), gone)
  await t.rejects(new S3Sink(made.plan).have(0, 9), gone, 'never begun')
  t.same(await made.s3.openUploads(), [])
  t.same(made.s3.keys(), [])
})

void test('a store that crashes and comes back is waited for', { skip }, async (t) => {
  const made = await make(t)
  const plan = await new S3Sink(made.plan).begin(made.plan)
  const sink = new S3Sink(plan, PATIENCE)
  await sink.put(blockOf(made, 3).receipt, blockOf(made, 3).data)
  await made.s3.kill()
  const all = putAll(made, sink)
  await new Promise((done) => setTimeout(done, 300))
  await made.s3.restart()
  await sink.complete(await all, crc32(made.bytes))
  t.ok(made.s3.object('folder/out.apr')?.equals(made.bytes))
})

void test('a signal ends an upload of a part', { skip }, async (t) => {
  const made = await make(t)
  const plan = await new S3Sink(made.plan).begin(made.plan)
  await made.s3.kill()
  const controller = new AbortController()
  const { receipt, data } = blockOf(made, 0)
  const put = new S3Sink(plan).put(receipt, data, { signal: controller.signal })
  setTimeout(() => controller.abort(new Error('enough')), 100)
  await t.rejects(put, { name: 'AbortError', cause: { message: 'enough' } })
})

void test('credentials that are missing or wrong are told without them', { skip }, async (t) => {
  const made = await make(t)
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong-secret'
  const sink = new S3Sink(made.plan, PATIENCE)
  const error = await sink.begin(made.plan).then(
    () => undefined,
    (failure: unknown) => failure as Error,
  )
  t.match(error, { code: 'APR_REMOTE', message: /expected S3 to say whether it is there, found \w+ \(status 403\)/ })
  t.notMatch(error?.message, /wrong-secret|testtest/)
  t.notMatch(JSON.stringify(error), /wrong-secret|testtest/)
})
