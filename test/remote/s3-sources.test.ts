/** Models in object storage, on a real server. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { inspect, quantize, verify } from 'apr-stream'
import { remoteSource } from 'apr-stream/remote'
import { sameBytes, SAMPLE } from '../helpers/files.js'
import { goldenExpected, goldenFolder } from '../helpers/golden-hf.js'
import { startS3, type S3Server } from '../helpers/servers/s3.js'
import { notThere } from '../helpers/servers/server.js'

const skip = notThere('versitygw')

async function withObjects(t: Test, objects: Readonly<Record<string, Uint8Array>>): Promise<S3Server> {
  const server = await startS3(t)
  for (const [Key, Body] of Object.entries(objects)) {
    await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key, Body }))
  }
  return server
}

void test('a model in a bucket is quantized as the file is', { skip }, async (t) => {
  const dir = t.testdir()
  const { bucket } = await withObjects(t, { 'deep/my model.apr': readFileSync(SAMPLE) })
  const url = `s3://${bucket}/deep/my model.apr`
  t.match(await verify(url), { ok: true })
  t.equal((await inspect(url)).file, url)
  await quantize(url, join(dir, 'far.apr'), { mode: 'stream', recordBytes: 50_000 })
  await quantize(SAMPLE, join(dir, 'near.apr'))
  sameBytes(t, readFileSync(join(dir, 'far.apr')), readFileSync(join(dir, 'near.apr')), 'the output')
})

void test('a folder in a bucket is one of shards', { skip }, async (t) => {
  const dir = t.testdir()
  const name = 'golden-qwen3moe-4x64'
  const folder = goldenFolder(name)
  const files = Object.fromEntries(
    (await fs.readdir(folder)).map((file) => [`hf/${name}/${file}`, readFileSync(join(folder, file))]),
  )
  const { bucket } = await withObjects(t, files)
  const options = { recipe: 'Q4_K_M', pre: (await goldenExpected(name)).pre } as const
  await quantize(`s3://${bucket}/hf/${name}/`, join(dir, 'far.gguf'), options)
  await quantize(folder, join(dir, 'near.gguf'), options)
  sameBytes(t, readFileSync(join(dir, 'far.gguf')), readFileSync(join(dir, 'near.gguf')), 'the output')
})

void test('an object that is replaced, and one that is not there, are errors', { skip }, async (t) => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251))
  const server = await withObjects(t, { a: bytes })
  const source = await remoteSource(`s3://${server.bucket}/a`)
  await source.read(new Uint8Array(100_000), 0)
  await server.client.send(new PutObjectCommand({ Bucket: server.bucket, Key: 'a', Body: bytes.map((b) => b ^ 1) }))
  await t.rejects(source.read(new Uint8Array(100_000), 100_000), { code: 'APR_SOURCE_CHANGED' })
  await source.close()
  await t.rejects(remoteSource(`s3://${server.bucket}/b`), { code: 'APR_REMOTE', message: /no such object/ })
})

void test('a server that dies and comes back is waited for', { skip }, async (t) => {
  const bytes = Buffer.from(Array.from({ length: 900_000 }, (_, i) => i % 249))
  const server = await withObjects(t, { a: bytes })
  const source = await remoteSource(`s3://${server.bucket}/a`)
  await server.kill()
  const target = new Uint8Array(bytes.length)
  const read = source.read(target, 0)
  await server.restart()
  await read
  sameBytes(t, target, bytes, 'the object')
  await source.close()
})
