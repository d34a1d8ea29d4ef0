/** `apr-stream convert`, as a user meets it. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'tap'
import { cli } from '../helpers/command.js'
import { filesIn } from '../helpers/files.js'
import { goldenExpected, goldenFolder } from '../helpers/golden-hf.js'

const HOSTILE = resolve('test/fixtures/hf/hostile/folders')
/** What is wrong with these is nothing, or nothing that keeps the model from being converted. */
const GOOD = ['00-good', '16-tied-but-stored']

void test('a folder that is wrong is refused in one line, without a stack, and nothing is left', async (t) => {
  const folder = t.testdir({ 'out.gguf': 'what stood there' })
  const names = readdirSync(HOSTILE).filter((name) => /^\d\d-/.test(name) && !GOOD.includes(name))
  t.ok(names.length >= 17)
  for (const name of names) {
    const args = ['convert', join(HOSTILE, name), '-o', 'out.gguf', '-f', '--pre', 'smollm']
    t.match(await cli(args, folder), { code: 1, stdout: '', stderr: /^error: [^\n]+\n$/ }, name)
    t.strictSame(filesIn(folder), ['out.gguf'], name)
    t.equal(readFileSync(join(folder, 'out.gguf'), 'utf8'), 'what stood there', name)
  }
})

void test('a folder becomes the bytes of the reference, and --json and --plan tell of it', async (t) => {
  const folder = t.testdir()
  const name = 'golden-qwen3moe-4x64'
  const { pre, convert } = await goldenExpected(name)
  const args = ['convert', resolve(goldenFolder(name)), '-o', 'out.gguf', '--pre', pre, '--json']
  const planned = JSON.parse((await cli([...args, '--plan'], folder)).stdout) as Record<string, unknown>
  t.strictSame(filesIn(folder), [], 'a plan writes nothing')
  t.match(planned, {
    schemaVersion: 1,
    outputBytes: convert.bytes,
    outputFormat: 'gguf',
    tensors: convert.tensors.length,
  })
  const { code, stdout } = await cli(args, folder)
  t.equal(code, 0)
  t.match(JSON.parse(stdout), { schemaVersion: 1, output: 'out.gguf', outputBytes: convert.bytes, dropped: [] })
  const found = createHash('sha256')
    .update(readFileSync(join(folder, 'out.gguf')))
    .digest('hex')
  t.equal(found, convert.sha256)
})
