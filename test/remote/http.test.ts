/** Files that are read by ranges over HTTP: every fault is mended, or refused; bytes are never mixed. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { inspect, openFile, plan, quantize, verify, type AprError, type ByteSource } from 'apr-stream'
import { remoteSource } from 'apr-stream/remote'
import { FORMATS } from '../../dist/formats/formats.js'
import { sameBytes, SAMPLE } from '../helpers/files.js'
import { realModel } from '../helpers/real-shapes.js'
import { randomBits } from '../helpers/random.js'
import { FAULTS, headers, serveFiles, wholeFile, type Fault } from '../helpers/servers/http.js'

const bytes = Uint8Array.from({ length: 700_001 }, (_, i) => (i * 2654435761) >>> 24)
const FAST = { waitMs: 1, stallMs: 1000, retries: 8 }

async function readAll(source: ByteSource, step = 100_000): Promise<Uint8Array> {
  const result = new Uint8Array(source.size)
  const reads: Promise<void>[] = []
  for (let at = 0; at < source.size; at += step) {
    reads.push(source.read(result.subarray(at, Math.min(source.size, at + step)), at))
  }
  await Promise.all(reads)
  return result
}

async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = (await promise.then(
    () => ({ code: 'none', message: 'it succeeded' }),
    (e: unknown) => e,
  )) as AprError
  return { code: error.code, message: error.message }
}

void test('ranges give the bytes of the file', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes, empty: new Uint8Array(0), one: bytes.subarray(0, 1) })
  for (const step of [1000, 65_536, 65_537, 700_001]) {
    const source = await remoteSource(`${served.url}/a.bin`, FAST)
    sameBytes(t, await readAll(source, step), bytes, `reads of ${step}`)
    await source.checkUnchanged?.()
    await source.close()
  }
  for (const [name, size] of [
    ['empty', 0],
    ['one', 1],
  ] as const) {
    const source = await remoteSource(`${served.url}/${name}`, FAST)
    t.equal(source.size, size)
    sameBytes(t, await readAll(source), bytes.subarray(0, size), name)
    await source.checkUnchanged?.()
    await source.close()
  }
})

void test('reads past the end are refused without a request', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes })
  const source = await remoteSource(`${served.url}/a.bin`, FAST)
  const before = served.requests.length
  t.match(await failure(source.read(new Uint8Array(2), bytes.length - 1)), { code: 'APR_TRUNCATED' })
  t.equal(served.requests.length, before)
  await source.close()
})

for (const [name, fault] of Object.entries<Fault>(FAULTS)) {
  void test(`after the fault "${name}" the bytes are those of the file`, async (t) => {
    const served = await serveFiles(t, { 'a.bin': bytes })
    served.fault = (_, count) => (count % 3 === 1 ? fault : undefined)
    const source = await remoteSource(`${served.url}/a.bin`, FAST)
    sameBytes(t, await readAll(source, 300_000), bytes, name)
    await source.close()
  })

  void test(`where the fault "${name}" stays, there is one error`, async (t) => {
    const served = await serveFiles(t, { 'a.bin': bytes })
    const source = await remoteSource(`${served.url}/a.bin?token=secret`, { ...FAST, retries: 1, stallMs: 500 })
    served.fault = () => fault
    const error = await failure(source.read(new Uint8Array(100_000), 200_000))
    t.match(error, { code: 'APR_REMOTE', message: /within 2 tries/ })
    t.match(error.message, `${served.url}/a.bin`)
    t.notMatch(error.message, 'secret')
    await source.close()
  })
}

void test('a cut body goes on at the byte that is missing', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes })
  const source = await remoteSource(`${served.url}/a.bin`, FAST)
  served.fault = (_, count) => (count === 2 ? FAULTS.cut : undefined)
  await source.read(new Uint8Array(200_000), 100_000)
  const [, first, second] = served.requests.map(({ range }) => range)
  t.equal(first, 'bytes=100000-299999')
  t.match(second, /^bytes=[12]\d{5}-299999$/)
  t.not(second, first)
  await source.close()
})

void test('a server that asks to wait is waited for', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes })
  served.fault = (_, count) => (count === 1 ? FAULTS.tooMany : undefined)
  const started = performance.now()
  await (await remoteSource(`${served.url}/a.bin`, FAST)).close()
  t.ok(performance.now() - started >= 990, 'a second')
})

void test('what is no part of the file, or of another file, is refused', async (t) => {
  const cases: [string, Fault, string, RegExp][] = [
    ['a server without ranges', wholeFile, 'APR_REMOTE', /answers ranges, found one that sends the whole file/],
    ['another start', headers((h) => (h['content-range'] = 'bytes 5-100003/700001')), 'APR_REMOTE', /Content-Range/],
    ['no range', headers((h) => delete h['content-range']), 'APR_REMOTE', /found none/],
    ['no size', headers((h) => (h['content-range'] = 'bytes 200000-299999/*')), 'APR_REMOTE', /how many there are/],
    ['another size', headers((h) => (h['content-range'] = 'bytes 200000-299999/700002')), 'APR_SOURCE_CHANGED', /./],
    ['another ETag', headers((h) => (h['etag'] = '"other"')), 'APR_SOURCE_CHANGED', /ETag "other"/],
    ['gzip', headers((h) => (h['content-encoding'] = 'gzip')), 'APR_REMOTE', /encoded as gzip/],
    ['gone', (_, response) => response.writeHead(404).end(), 'APR_REMOTE', /found 404/],
    ['forbidden', (_, response) => response.writeHead(403).end(), 'APR_REMOTE', /found 403/],
  ]
  for (const [name, fault, code, message] of cases) {
    const served = await serveFiles(t, { 'a.bin': bytes })
    const source = await remoteSource(`${served.url}/a.bin`, { ...FAST, retries: 1 })
    served.fault = () => fault
    const error = await failure(source.read(new Uint8Array(100_000), 200_000))
    t.equal(error.code, code, name)
    t.match(error.message, message, name)
    await source.close()
  }
})

void test('a file that is replaced while it is read is an error, at the latest at the end', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes })
  const source = await remoteSource(`${served.url}/a.bin`, FAST)
  await source.read(new Uint8Array(100_000), 0)
  served.files.set(
    '/a.bin',
    bytes.map((byte) => byte ^ 1),
  )
  t.match(await failure(source.read(new Uint8Array(100_000), 100_000)), { code: 'APR_SOURCE_CHANGED' })
  t.match(await failure(source.checkUnchanged?.() ?? Promise.resolve()), { code: 'APR_SOURCE_CHANGED' })
  await source.close()
})

void test('redirects are followed, and what is secret goes to no other host', async (t) => {
  const cdn = await serveFiles(t, { 'signed.bin': bytes })
  let good = 'first'
  cdn.fault = ({ url = '' }) =>
    url.includes(`key=${good}`) ? undefined : (_, response) => response.writeHead(403).end()
  const origin = await serveFiles(t, {}, (_, response) => {
    response.writeHead(302, { location: `${cdn.url}/signed.bin?key=${good}` }).end()
    return true
  })
  const source = await remoteSource(`${origin.url}/a.bin`, { ...FAST, headers: { authorization: 'Bearer secret' } })
  sameBytes(t, await readAll(source), bytes, 'through the redirect')
  t.equal(origin.requests.length, 1, 'the address is kept')
  good = 'second'
  sameBytes(t, await readAll(source), bytes, 'after the address has expired')
  t.ok(origin.requests.length >= 2)
  t.ok(origin.requests.every((request) => request.headers.authorization === 'Bearer secret'))
  t.ok(cdn.requests.every((request) => request.headers.authorization === undefined))
  await source.close()
})

void test('a redirect without an end is refused', async (t) => {
  const served = await serveFiles(t, {}, ({ url = '' }, response) => {
    response.writeHead(307, { location: `${url}x` }).end()
    return true
  })
  t.match(await failure(remoteSource(`${served.url}/a`, FAST)), { code: 'APR_REMOTE', message: /at most 5 redirects/ })
})

void test('a source that is closed ends its reads', async (t) => {
  const served = await serveFiles(t, { 'a.bin': bytes })
  const source = await remoteSource(`${served.url}/a.bin`, FAST)
  served.fault = () => FAULTS.stall
  const read = source.read(new Uint8Array(200_000), 0)
  const failed = failure(read)
  await source.close()
  t.match(await failed, { message: /closed/ })
})

void test('user and password of a URL are sent, and told to nobody', async (t) => {
  const served = await serveFiles(t, { 'a.apr': readFileSync(SAMPLE) })
  const url = served.url.replace('//', '//user:secret@')
  const found = await inspect(`${url}/a.apr`)
  t.equal(served.requests[0]?.headers.authorization, `Basic ${Buffer.from('user:secret').toString('base64')}`)
  t.notMatch(found.file, 'secret')
})

void test('a whole quantization over a line with faults gives the same bytes', async (t) => {
  const dir = t.testdir()
  const sha = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')
  await quantize(SAMPLE, join(dir, 'local.apr'))
  const served = await serveFiles(t, { 'model.apr': readFileSync(SAMPLE) })
  const next = randomBits(3)
  const faults = Object.entries(FAULTS).filter(([name]) => name !== 'tooMany' && name !== 'stall')
  served.fault = () => (next() % 3 === 0 ? faults[next() % faults.length]?.[1] : undefined)
  for (const mode of ['stream', 'memory'] as const) {
    await quantize(`${served.url}/model.apr`, join(dir, `${mode}.apr`), { mode, recordBytes: 40_000 })
    t.equal(sha(join(dir, `${mode}.apr`)), sha(join(dir, 'local.apr')))
  }
  t.match(await verify(new URL(`${served.url}/model.apr`)), { ok: true, footer: 'good' })
})

void test('a plan of a model of 61 GB reads what stands before its tensors', async (t) => {
  const model = realModel('Qwen3-30B-A3B')
  const [file] = FORMATS.gguf.layout(model, { name: 'model.gguf', isFolder: false }).files
  const head = file.head()
  const served = await serveFiles(t, { 'model.gguf': { head, size: file.fileSize } })
  const planned = await plan(`${served.url}/model.gguf`, { recipe: 'Q4_K_M' })
  t.equal(planned.inputBytes, file.fileSize)
  t.ok(planned.inputBytes > 61e9, `${planned.inputBytes} bytes`)
  t.equal(planned.freeBytes, undefined)
  t.ok(served.sent < head.length + 512 * 1024, `${served.sent} bytes for a head of ${head.length}`)
  t.ok(served.requests.length <= 3 + head.length / (256 * 1024), `${served.requests.length} requests`)
})

void test('a remote input that is not there, and an output that is remote, are refused', async (t) => {
  const served = await serveFiles(t)
  t.match(await failure(inspect(`${served.url}/none.apr`)), { code: 'APR_REMOTE', message: /found 404/ })
  t.match(await failure(quantize(SAMPLE, `${served.url}/out.apr`)), { code: 'APR_BAD_OPTION' })
  t.match(await failure(inspect('https://')), { code: 'APR_BAD_OPTION' })
  await (await openFile(SAMPLE)).close()
})
