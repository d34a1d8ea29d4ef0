import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { PlanJson, QuantizeJson } from 'apr-stream'
import { cli } from '../helpers/command.js'
import { arbitraryTensor, filesIn, modelBytes, SAMPLE } from '../helpers/files.js'

const NAMES = ['.', '..', '!not', '#hash', '.hidden', 'a/b/c.weight', 'a/b.weight', 'ab.weight', 'blk.0.w', 'blk.12.w']

void test('a pattern knows no folders: a star stands for every character of a name', async (t) => {
  const model = join(t.testdir(), 'in.apr')
  writeFileSync(model, modelBytes({ tensors: NAMES.map((name) => arbitraryTensor(name, 'F32', [2, 256])) }))
  const cases: [string[], string[]][] = [
    [['--skip', '*'], []],
    [['--only', '*'], NAMES],
    [['--skip', '**'], []],
    [
      ['--only', 'a*.weight'],
      ['a/b/c.weight', 'a/b.weight', 'ab.weight'],
    ],
    [['--only', 'a?b.weight'], ['a/b.weight']],
    [
      ['--only', '{!,#,.}*'],
      ['.', '..', '!not', '#hash', '.hidden'],
    ],
    [['--only', 'blk.{0..9}.w'], ['blk.0.w']],
    [['--only', 'blk.*', '--skip', '*[12].w'], ['blk.0.w']],
  ]
  const results = await Promise.all(cases.map(([flags]) => cli(['quantize', model, '--plan', '--json', ...flags])))
  for (const [i, [flags, expected]] of cases.entries()) {
    const { decisions } = JSON.parse(results[i]?.stdout ?? '') as PlanJson
    const found = decisions.flatMap(({ name, action }) => (action === 'quantize' ? [name] : []))
    t.same(found.sort(), [...expected].sort(), flags.join(' '))
  }
})

void test('a pattern that matches no tensor is a warning, in plan and report, and with --strict an error', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const args = ['quantize', SAMPLE, '-o', output, '--only', 'lstm*', '--only', 'nope', '--skip', 'x/*', '--json']
  const [planned, done] = [await cli([...args, '--plan']), await cli(args)]
  const warnings = ["--only 'nope' matches no tensor", "--skip 'x/*' matches no tensor"]
  for (const { code, stdout, stderr } of [planned, done]) {
    t.equal(code, 0)
    t.same((JSON.parse(stdout) as QuantizeJson).warnings, warnings)
    t.equal(stderr, warnings.map((warning) => `warning: ${warning}\n`).join(''))
  }
  for (const more of [[], ['--plan']]) {
    const strict = await cli([...args, '-f', '--strict', '-o', join(folder, 'strict.apr'), ...more])
    t.equal(strict.code, 1)
    const message = `expected no warnings (--strict), found 2: ${warnings.join('; ')} (file ${SAMPLE})`
    t.match(JSON.parse(strict.stdout), { error: { code: 'APR_STRICT', message, file: SAMPLE } })
    t.equal(strict.stderr, `error: ${message}\n`)
  }
  t.same(filesIn(folder), ['out.apr'])
})

void test('a pattern that is none is wrong usage', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const cases: [string, RegExp][] = [
    ['x'.repeat(70_000), /^error: --only: pattern is too long\n$/],
    ['{1..9}'.repeat(5), /^error: --only '.*': expected braces that stand for at most 10000 names, found more\n$/],
  ]
  for (const [pattern, message] of cases) {
    const { code, stdout, stderr } = await cli(['quantize', SAMPLE, '-o', output, '--only', pattern])
    t.same([code, stdout], [2, ''])
    t.match(stderr, message)
  }
  t.notOk(existsSync(output))
})
