import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { quantize } from 'apr-stream'
import type { PartsPlan } from 'apr-stream/parts'
import { cli, result, type Result } from '../helpers/command.js'
import { filesIn, SAMPLE } from '../helpers/files.js'
import { FOLDER, sha256, writeModel } from '../helpers/parts.js'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
const SMALL = ['--block-size', '64KiB', '--unit-size', '128KiB']

const withEnvironment = (args: readonly string[], variables: NodeJS.ProcessEnv): Promise<Result> => {
  const env = { ...process.env, NODE_OPTIONS: '', ...variables }
  return result(spawn(process.execPath, [CLI, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] }))
}

void test('plan prints the number of units, part takes its unit from a flag or the environment, finish is the file', async (t) => {
  const folder = t.testdir()
  const [job, output] = [join(folder, 'job.json'), join(folder, 'out.apr')]
  const planned = await cli(['plan', SAMPLE, '-o', output, '--save', job, ...SMALL])
  t.match(planned, { code: 0, stdout: '2\n', stderr: '' })
  t.match(await cli(['finish', job]), { code: 1, stderr: /^error: expected the blocks of all 2 units.*: 0, 1/ })
  t.match(await cli(['part', job]), {
    code: 2,
    stderr: /expected a unit: --unit NUMBER, or JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID; found none/,
  })
  t.match(await withEnvironment(['part', job], { JOB_COMPLETION_INDEX: 'x' }), {
    code: 2,
    stderr: /JOB_COMPLETION_INDEX=x/,
  })
  t.match(await withEnvironment(['part', job], { JOB_COMPLETION_INDEX: '1' }), {
    code: 0,
    stdout: /^unit 1: 2 blocks, /,
  })
  t.match(await withEnvironment(['part', job, '-q'], { SLURM_ARRAY_TASK_ID: '0' }), { code: 0, stdout: '' })
  t.match(await withEnvironment(['part', job, '-u', '9'], { SLURM_ARRAY_TASK_ID: '0' }), {
    code: 1,
    stderr: /from 0 to 1/,
  })
  t.match(await cli(['finish', job]), { code: 0, stdout: `${output}\n  254,532 bytes\n` })
  t.match(await cli(['finish', job]), { code: 0, stdout: /there already/ })
  await quantize(SAMPLE, join(folder, 'expected.apr'))
  t.equal(sha256(output), sha256(join(folder, 'expected.apr')))
  t.match(await cli(['abort', job]), { code: 0 })
  t.same(filesIn(folder), ['expected.apr', 'job.json', 'out.apr'])
})

void test('the flags of quantize and convert become plain options of the plan', async (t) => {
  const folder = t.testdir()
  const model = writeModel(folder, 20)
  const cases: [string[], Record<string, unknown>][] = [
    [[model, '-o', join(folder, 'a.apr')], {}],
    [
      [model, '-o', join(folder, 'b.apr'), '--skip', 'a*', '--fit', 'minmax', '--to', 'apr'],
      { skip: ['a*'], fit: 'minmax', to: 'apr' },
    ],
    [[model, '-o', join(folder, 'c.apr'), '--compat', 'apr'], { select: 'apr', fit: 'minmax', kept: 'f32' }],
    [
      [FOLDER, '-o', join(folder, 'd.gguf'), '-s', 'q4_k_m', '--pre', 'llama-bpe', '--type', 'attn_v=Q8_0'],
      { recipe: 'Q4_K_M', pre: 'llama-bpe', types: { attn_v: 'Q8_0' } },
    ],
    [
      [FOLDER, '-o', join(folder, 'e.gguf'), '--convert', '--outtype', 'f16', '--pre', 'llama-bpe'],
      { convert: true, outtype: 'f16', pre: 'llama-bpe' },
    ],
  ]
  for (const [args, options] of cases) {
    const job = join(folder, 'job.json')
    const { code, stderr } = await cli(['plan', ...args, '--save', job])
    t.equal(code, 0, stderr)
    const made = JSON.parse(readFileSync(job, 'utf8')) as PartsPlan
    t.same(made.options, options)
    t.match(await cli(['abort', job]), { code: 0 })
  }
  t.same(filesIn(folder), ['in.apr', 'job.json'])
})

void test('dtypes chosen by a size are chosen once, by the plan', async (t) => {
  const folder = t.testdir()
  const job = join(folder, 'job.json')
  const output = join(folder, 'out.gguf')
  const flags = ['--target-bpw', '5', '--pre', 'llama-bpe']
  t.match(await cli(['plan', FOLDER, '-o', output, ...flags, '--save', job, ...SMALL]), { code: 0 })
  const { options, units } = JSON.parse(readFileSync(job, 'utf8')) as PartsPlan
  t.match(options, { recipe: /^[IQ]/, pre: 'llama-bpe', bitsPerWeight: undefined })
  for (const unit of units.keys()) t.match(await cli(['part', job, '-u', String(unit)]), { code: 0 })
  t.match(await cli(['finish', job]), { code: 0 })
  t.match(await cli(['quantize', FOLDER, '-o', join(folder, 'whole.gguf'), ...flags]), { code: 0 })
  t.equal(sha256(output), sha256(join(folder, 'whole.gguf')))
})

void test('wrong usage is refused, and leaves nothing', async (t) => {
  const folder = t.testdir({ 'none.json': '{"a', 'other.json': '{}' })
  const [job, output] = [join(folder, 'job.json'), join(folder, 'out.apr')]
  const plan = ['plan', SAMPLE, '-o', output]
  const refused: [string[], number, RegExp][] = [
    [[...plan, '--save', job, '--resume'], 2, /--resume cannot be had with --save/],
    [[...plan, '--save', job, '--mode', 'memory'], 2, /--mode cannot be had with --save/],
    [[...plan, '--save', job, '--threads', '2'], 2, /--threads cannot be had with --save/],
    [[...plan, '--save', job, '--convert', '--fit', 'minmax'], 2, /--fit cannot be had with --convert/],
    [[...plan, '--save', job, '--convert', '-s', 'Q6_K'], 2, /--scheme cannot be had with --convert/],
    [[...plan, '--outtype', 'f16'], 2, /--outtype cannot be had/],
    [[...plan, '--unit-size', '1GB'], 2, /--unit-size cannot be had/],
    [['plan', SAMPLE, '--convert', '--save', job], 2, /--convert needs an output/],
    [[...plan, '--save', job, '--block-size', '100000'], 1, /a multiple of 65,536 bytes/],
    [[...plan, '--save', job, '--skip', '{1..9}'.repeat(5)], 1, /braces that stand for at most/],
    [[...plan, '--save', join(folder, 'sub', 'job.json')], 1, /ENOENT/],
    [['part', join(folder, 'none.json'), '-u', '0'], 1, /no JSON.*none\.json/],
    [['finish', join(folder, 'other.json')], 1, /with `version`.*other\.json/],
    [['abort', job], 1, /ENOENT/],
  ]
  for (const [args, code, message] of refused) {
    const found = await cli(args)
    t.equal(found.code, code, args.slice(3).join(' '))
    t.match(found.stderr, message)
  }
  t.same(filesIn(folder), ['none.json', 'other.json'])
})

void test('without --save it is the plan of quantize, or of convert', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const [planned, quantized] = [
    await cli(['plan', SAMPLE, '-o', output]),
    await cli(['quantize', SAMPLE, '-o', output, '--plan']),
  ]
  t.equal(planned.stdout.replace(/[^\n]*free/, ''), quantized.stdout.replace(/[^\n]*free/, ''))
  const gguf = ['-o', join(folder, 'out.gguf'), '--pre', 'llama-bpe', '--json']
  const converted = await cli(['plan', FOLDER, '--convert', ...gguf])
  t.match(JSON.parse(converted.stdout), { outputFormat: 'gguf', decisions: Array })
  t.same(filesIn(folder), [])
})

void test('an interrupted part says so, and is gone on with', async (t) => {
  const folder = t.testdir()
  const job = join(folder, 'job.json')
  const model = writeModel(folder, 6000)
  t.equal((await cli(['plan', model, '-o', join(folder, 'out.apr'), '--save', job, '--block-size', '64KiB'])).code, 0)
  const child = spawn(process.execPath, [CLI, 'part', job, '-u', '0'], { env: { ...process.env, NODE_OPTIONS: '' } })
  const { id, output } = JSON.parse(readFileSync(job, 'utf8')) as PartsPlan
  const receipt = `${output}.${id}.partial.d/3.json`
  for (let i = 0; i < 400 && !existsSync(receipt); i++) await new Promise((done) => setTimeout(done, 10))
  child.kill('SIGTERM')
  t.match(await result(child), { code: 143, stderr: 'interrupted: what is made stays, run it again\n' })
  t.match(await cli(['part', job, '-u', '0']), { code: 0 })
  t.match(await cli(['finish', job]), { code: 0 })
})
