import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'tap'
import { aprReader, aprWriter, inspect, openFile, plan, q4k, quantize, verify } from 'apr-stream'
import { filesIn, run, sameBytes, SAMPLE } from '../helpers/files.js'

void test('a file: URL is taken as a path, as an input and as an output', async (t) => {
  const folder = t.testdir()
  // What a URL escapes, and what it may hold unescaped.
  const input = join(folder, 'ein Modell #1 50%?.apr')
  copyFileSync(SAMPLE, input)
  const url = pathToFileURL(input)
  const outputs = ['a b.apr', 'ä%20.apr', 'c.apr'].map((name) => join(folder, name)) as [string, string, string]
  const [streamed, inOneCall, expected] = outputs

  await quantize(SAMPLE, expected)
  await run([aprReader(url), q4k(), aprWriter(pathToFileURL(streamed))])
  const report = await quantize(url, pathToFileURL(inOneCall))
  sameBytes(t, readFileSync(streamed), readFileSync(expected), 'streams')
  sameBytes(t, readFileSync(inOneCall), readFileSync(expected), 'one call')
  t.match({ input: report.input, output: report.output }, { input, output: inOneCall }, 'the report has paths')

  t.strictSame(await inspect(url), await inspect(input))
  t.strictSame(await verify(url), await verify(input))
  const planned = await plan(url, { output: pathToFileURL(streamed) })
  t.equal(planned.input, input)
  t.type((await plan(url)).freeBytes, 'number', 'beside the input')
  const source = await openFile(url)
  t.equal(source.name, input)
  await source.close()
  t.same(filesIn(folder), ['a b.apr', 'c.apr', 'ein Modell #1 50%?.apr', 'ä%20.apr'])
})

void test('an output that is the input is refused, whichever is a URL', async (t) => {
  const input = join(t.testdir(), 'in.apr')
  copyFileSync(SAMPLE, input)
  await t.rejects(quantize(input, pathToFileURL(input), { overwrite: true }), { code: 'APR_SAME_FILE' })
  await t.rejects(quantize(pathToFileURL(input), input, { overwrite: true }), { code: 'APR_SAME_FILE' })
  sameBytes(t, readFileSync(input), readFileSync(SAMPLE), 'the input')
})

void test('another URL, or what is no path, is refused by an error that names it', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'out.apr')
  const jobs: ((input: never) => Promise<unknown>)[] = [inspect, verify, plan]
  const cases: [unknown, RegExp][] = [
    [new URL('ftp://example.com/model.apr'), /found the URL ftp:\/\/example\.com\/model\.apr$/],
    [new URL('data:,x'), /found the URL data:,x$/],
    [new URL('file://host/model.apr'), /found the URL file:\/\/host\/model\.apr: /],
    [new URL('file:///a%2Fb.apr'), /found the URL file:\/\/\/a%2Fb\.apr: /],
    ['', /found an empty text$/],
    [undefined, /found undefined$/],
    [null, /found null$/],
    [3, /found 3$/],
    [Buffer.from('model.apr'), /found an object of the class Buffer$/],
    [[SAMPLE], /found an array$/],
    [{ path: SAMPLE }, /found an object$/],
    [openFile(SAMPLE).then((file) => file.close()), /found a promise$/],
    [() => SAMPLE, /found a function$/],
  ]
  for (const [value, message] of cases) {
    const refused = { name: 'AprError', code: 'APR_BAD_OPTION', message }
    const given = value as never
    t.throws(() => aprReader(given), refused)
    t.throws(() => aprWriter(given), refused)
    await t.rejects(openFile(given), refused)
    for (const job of jobs) await t.rejects(job(given), refused)
    await t.rejects(quantize(given, path), refused)
    await t.rejects(quantize(SAMPLE, given), refused)
    if (value !== undefined) await t.rejects(plan(SAMPLE, { output: given }), refused)
  }
  t.same(filesIn(folder), [])
})

void test('a text that looks like a URL is the name of a file', async (t) => {
  const folder = t.testdir()
  writeFileSync(join(folder, 'x.apr'), '')
  await t.rejects(inspect('ftp://example.com/model.apr'), { code: 'ENOENT' })
  await t.rejects(inspect(pathToFileURL(SAMPLE).href), { code: 'ENOENT' })
})
