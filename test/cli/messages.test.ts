import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { cli, result, start } from '../helpers/command.js'
import { arbitraryTensor, filesIn, modelBytes, SAMPLE, type StoredTensor } from '../helpers/files.js'

function withValue(tensor: StoredTensor, value: number): StoredTensor {
  const view = Buffer.from(tensor.bytes.buffer, tensor.bytes.byteOffset)
  if (tensor.dtype === 'F64') view.writeDoubleLE(value, 8 * 100)
  else view.writeFloatLE(value, 4 * 100)
  return tensor
}

void test('advice names flags, and a job that follows it is done', async (t) => {
  const folder = t.testdir()
  const model = (file: string, ...tensors: StoredTensor[]): string => {
    writeFileSync(join(folder, file), modelBytes({ tensors: [arbitraryTensor('a', 'F32', [2, 256]), ...tensors] }))
    return join(folder, file)
  }
  const nan = model('nan.apr', withValue(arbitraryTensor('w.weight', 'F32', [2, 256]), NaN))
  const huge = model('huge.apr', withValue(arbitraryTensor('w.weight', 'F64', [2, 256]), 1e300))
  const kept = model('kept.apr', withValue(arbitraryTensor('w.bias', 'F64', [256]), 1e300))
  const cases: [string, string[], string, string[]][] = [
    [nan, [], 'leave the tensor out with --skip w.weight (', ['--skip', 'w.weight']],
    [
      huge,
      [],
      'leave the tensor out with --skip w.weight, and keep its dtype with --kept same (',
      ['--skip', 'w.weight', '--kept', 'same'],
    ],
    [kept, [], '; keep its dtype with --kept same (', ['--kept', 'same']],
    [kept, ['--compat', 'apr'], '; keep its dtype with --kept same, without --compat (', ['--kept', 'same']],
  ]
  const output = join(folder, 'out.apr')
  for (const [file, flags, advice, cure] of cases) {
    const { code, stdout, stderr } = await cli(['quantize', file, '-fo', output, '--json', ...flags])
    t.equal(code, 1)
    t.match(stderr, advice)
    t.match((JSON.parse(stdout) as { error: { message: string } }).error.message, advice)
    t.equal((await cli(['quantize', file, '-fo', output, ...cure])).code, 0, cure.join(' '))
  }
  const exists = await cli(['quantize', nan, '-o', output])
  t.match(exists.stderr, 'found one; --force replaces it (')
})

void test('a JSON error of the file system names the file and the call', async (t) => {
  const missing = join(t.testdir(), 'missing.apr')
  for (const command of ['quantize', 'inspect', 'verify']) {
    const { code, stdout } = await cli([command, missing, '--json'])
    t.equal(code, 1)
    t.match(JSON.parse(stdout), { error: { code: 'ENOENT', file: missing, syscall: 'stat' } })
  }
})

void test('a closed standard error is no failure, and changes no exit status', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const cases: [string[], number][] = [
    [['quantize', SAMPLE, '-o', output, '--skip', 'nope'], 0],
    [['quantize', SAMPLE, '--skip', '*', '--plan'], 0],
    [['inspect', 'missing.apr'], 1],
    [['quantize', SAMPLE, '-o', output, '--strict', '--only', 'nope'], 1],
    [['quantize', '--nope'], 2],
  ]
  for (const [args, expected] of cases) {
    const child = start(args)
    child.stderr?.destroy()
    const { code } = await result(child)
    t.equal(code, expected, args.join(' '))
  }
  t.ok(existsSync(output))
})

void test(
  'an answer that could not be written is a failure of one line',
  { skip: !existsSync('/dev/full') },
  async (t) => {
    const full = openSync('/dev/full', 'w')
    const command = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
    const env = { ...process.env, NODE_OPTIONS: '' }
    const child = spawn(process.execPath, [command, 'inspect', SAMPLE], { env, stdio: ['ignore', full, 'pipe'] })
    closeSync(full)
    const { code, stderr } = await result(child)
    t.equal(code, 1)
    t.match(stderr, /^error: standard output: ENOSPC[^\n]*\n$/)
  },
)

void test('wrong usage says what is wrong, and what was meant', async (t) => {
  const cases: [string[], string][] = [
    [['quantize', SAMPLE, '--skpi', 'x'], "unknown option '--skpi'\n(Did you mean --skip?)"],
    [['quantise', SAMPLE], "unknown command 'quantise'\n(Did you mean quantize?)"],
    [['quantize', ''], 'expected a path, found an empty one'],
    [['quantize', SAMPLE, '-o', ''], 'expected a path, found an empty one'],
    [['verify', ''], 'expected a path, found an empty one'],
  ]
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await cli(args)
    t.same([code, stdout], [2, ''])
    t.match(stderr, message)
  }
})

void test('--debug shows the stack of every command, from where the error was thrown', async (t) => {
  const cut = join(t.testdir(), 'cut.apr')
  writeFileSync(cut, readFileSync(SAMPLE).subarray(0, 100_000))
  for (const command of ['quantize', 'inspect', 'verify']) {
    const { code, stderr } = await cli([command, cut, '--debug'])
    t.equal(code, 1)
    t.match(
      stderr,
      /^error: expected tensor data[^\n]+\nAprError: expected tensor data[^\n]+\n {4}at \w+ .*open\.[jt]s/,
    )
  }
  t.same(filesIn(t.testdirName), ['cut.apr'])
})

void test('--help of quantize tells every exit status that the docs tell', async (t) => {
  const docs = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')
  const table = docs.slice(docs.indexOf('## Exit status'), docs.indexOf('## Environment'))
  const documented = [...table.matchAll(/^\| (\d+) /gm)].map(([, status]) => status)
  t.ok(documented.includes('143'))
  const { stdout } = await cli(['quantize', '--help'])
  const told = [...stdout.slice(stdout.indexOf('Exit status:')).matchAll(/\b\d+\b/g)].map(([status]) => status)
  t.same(told.sort(), documented.sort())
})
