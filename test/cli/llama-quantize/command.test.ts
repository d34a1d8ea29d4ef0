import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { cli } from '../../helpers/command.js'
import { goldenCommands } from '../../helpers/golden-llama-quantize.js'

const NAME = 'tiny-llama-f32'
const GOLDEN = `test/fixtures/hf/small/gguf/${NAME}`

function folderWithModel(folder: string): string {
  copyFileSync(`${GOLDEN}.convert.gguf`, join(folder, 'model.gguf'))
  return folder
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

void test('one word more, and the same file', async (t) => {
  const folder = folderWithModel(t.testdir({ 'out.gguf': 'what stood there before' }))
  const { code, stdout, stderr } = await cli(['llama-quantize', 'model.gguf', 'out.gguf', 'q4_k_m', '2'], folder)
  t.equal(code, 0, stderr)
  t.equal(stdout, '')
  t.strictSame(readFileSync(join(folder, 'out.gguf')), readFileSync(`${GOLDEN}.Q4_K_M.gguf`))
  t.match(stderr, "llama_quantize: quantizing 'model.gguf' to 'out.gguf' as Q4_K_M using 2 threads\n")
  t.match(
    stderr,
    /\[ 2\/29\] token_embd.weight +- \[64, 290\], type = F16, converting to Q8_0, size = 0.04 MiB -> 0.02 MiB/,
  )
  t.match(stderr, /llama_quantize: quant size {2}= 0.\d\d MiB \(\d+.\d\d BPW\)/)
  t.match(stderr, /WARNING: \d+ of 29 tensor\(s\) required fallback quantization/)
})

void test('options that the command line of apr-stream has too are those of llama-quantize', async (t) => {
  const folder = folderWithModel(t.testdir({}))
  const options = ['--pure', '--leave-output-tensor', '--output-tensor-type', 'f16']
  const { code, stderr } = await cli(['llama-quantize', ...options, 'model.gguf', 'COPY'], folder)
  t.equal(code, 0, stderr)
  t.strictSame(readdirSync(folder).sort(), ['ggml-model-COPY.gguf', 'model.gguf'])
})

void test('a dry run writes nothing', async (t) => {
  const folder = folderWithModel(t.testdir({}))
  const { code, stderr } = await cli(['llama-quantize', '--dry-run', 'model.gguf', 'Q2_K_S'], folder)
  t.equal(code, 0, stderr)
  t.match(stderr, "calculating quantization size for 'model.gguf' as Q2_K_S\n")
  t.match(stderr, 'quant size')
  t.strictSame(readdirSync(folder), ['model.gguf'])
})

void test('wrong usage shows the usage, other failures a line, and both end with 1', async (t) => {
  const folder = folderWithModel(t.testdir({ 'bad.txt': 'attn_q=q4_0 attn_k' }))
  const run = (...args: string[]) => cli(['llama-quantize', ...args], folder)
  for (const args of [
    [],
    ['--help'],
    ['--what', 'model.gguf', 'Q8_0'],
    ['--tensor-type-file', 'bad.txt', 'a', 'Q8_0'],
  ]) {
    const { code, stderr } = await run(...args)
    t.equal(code, 1, args.join(' '))
    t.match(stderr, /^error: .*\n\nusage: apr-stream llama-quantize/)
    t.match(stderr, /\n {2}15 or {3}Q4_K_M\n/)
  }
  const failures = [
    [['other.gguf', 'out.gguf', 'Q8_0'], /ENOENT/],
    [['model.gguf', 'model.gguf', 'Q8_0'], /expected an output that is not the input/],
    [['model.gguf', 'out.gguf', 'Q9_0'], /expected a type, found Q9_0/],
    [['model.gguf', 'out.gguf', 'IQ2_XS'], /expected a recipe.*IQ2_XS/],
    [
      ['--tensor-type', 'attn_q=iq2_xs', 'model.gguf', 'Q8_0'],
      /made here, found IQ2_XS \(tensor "blk.0.attn_q.weight"/,
    ],
    [['--imatrix', 'model.gguf', 'model.gguf', 'out.gguf', 'Q8_0'], /expected imatrix.datasets.* \(file model.gguf\)/],
  ] as const
  for (const [args, message] of failures) {
    const { code, stderr } = await run(...args)
    t.equal(code, 1)
    t.match(stderr, message)
    t.notMatch(stderr, 'usage:')
  }
  t.strictSame(readdirSync(folder).sort(), ['bad.txt', 'model.gguf'])
})

void test('what is refused for want of an option names it as llama-quantize does', async (t) => {
  const folder = folderWithModel(t.testdir({}))
  const expected = goldenCommands(NAME).find(({ name }) => name === 'Q8_0')?.files?.['out.gguf']
  await cli(['llama-quantize', 'model.gguf', 'Q8_0.gguf', 'Q8_0'], folder)
  t.equal(sha256(join(folder, 'Q8_0.gguf')), expected)
  const { code, stderr } = await cli(['llama-quantize', 'Q8_0.gguf', 'out.gguf', 'Q4_0'], folder)
  t.equal(code, 1)
  t.match(stderr, /quantized already, which only --allow-requantize quantizes again/)
  t.notOk(existsSync(join(folder, 'out.gguf')))
})

void test('rules for types that are not made here pass where they find nothing', async (t) => {
  const folder = folderWithModel(t.testdir({}))
  const run = (...args: string[]) => cli(['llama-quantize', ...args], folder)
  const rule = ['--tensor-type', 'nothing=iq2_xxs']
  t.equal((await run(...rule, 'model.gguf', 'a.gguf', 'Q4_0')).code, 0)
  t.equal((await run('--tensor-type', 'attn=iq2_xxs', 'model.gguf', 'b.gguf', 'F16')).code, 0)
  t.equal((await run('model.gguf', 'c.gguf', 'Q4_0')).code, 0)
  t.equal(sha256(join(folder, 'a.gguf')), sha256(join(folder, 'c.gguf')))
})

void test('a NaN in what is only copied is refused too', async (t) => {
  const folder = folderWithModel(t.testdir({}))
  const bytes = readFileSync(join(folder, 'model.gguf'))
  // The data end with a norm.
  bytes.writeFloatLE(NaN, bytes.length - 64)
  writeFileSync(join(folder, 'model.gguf'), bytes)
  for (const type of ['COPY', 'Q4_K_M', 'F32']) {
    const { code, stderr } = await cli(['llama-quantize', 'model.gguf', 'out.gguf', type], folder)
    t.equal(code, 1, type)
    t.match(stderr, /expected finite numbers, found/)
  }
  t.strictSame(readdirSync(folder), ['model.gguf'])
})
