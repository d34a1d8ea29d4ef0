import {
  copyFileSync,
  existsSync,
  openSync,
  closeSync,
  ftruncateSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { test, type Test } from 'tap'
import { plan, quantize } from 'apr-stream'
import { cli, result, start } from '../helpers/command.js'
import {
  arbitraryTensor,
  filesIn,
  fixture,
  modelBytes,
  parseModel,
  readModel,
  sameBytes,
  SAMPLE,
  turns,
  type StoredTensor,
} from '../helpers/files.js'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

const dtypesIn = (path: string): Record<string, string> =>
  Object.fromEntries(readModel(path).tensors.map(({ name, dtype }) => [name, dtype]))

/** A tensor of F32 with one value that is not finite. */
function brokenTensor(name: string): StoredTensor {
  const tensor = arbitraryTensor(name, 'F32', [4, 300])
  Buffer.from(tensor.bytes.buffer, tensor.bytes.byteOffset).writeFloatLE(NaN, 4 * 777)
  return tensor
}

void test('quantize writes FILE.q4k.apr beside the file, and says what it did', async (t) => {
  const folder = t.testdir()
  copyFileSync(SAMPLE, join(folder, 'model.apr'))
  copyFileSync(SAMPLE, join(folder, 'other'))
  const expected = join(folder, 'expected')
  await quantize(SAMPLE, expected)

  const { code, stdout, stderr } = await cli(['quantize', 'model.apr'], folder)
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(stdout, /^model\.q4k\.apr\n {2}1\.24 MB -> 255 kB, 4\.87 times smaller, 6\.54 bits a weight\n/)
  t.match(stdout, '7 tensors quantized\n')
  t.match(stdout, '7 tensors kept: has fewer than 2 dimensions\n')
  t.match(stdout, '1 tensor kept: has fewer than 256 elements\n')
  sameBytes(t, readFileSync(join(folder, 'model.q4k.apr')), readFileSync(expected), 'the bytes of the library')

  t.equal((await cli(['quantize', 'other'], folder)).code, 0)
  t.same(filesIn(folder), ['expected', 'model.apr', 'model.q4k.apr', 'other', 'other.q4k.apr'])
})

void test('-o names the output; an existing one is replaced with --force only', async (t) => {
  const folder = t.testdir({ 'old.apr': 'old' })
  const output = join(folder, 'old.apr')
  const refused = await cli(['quantize', SAMPLE, '-o', output])
  t.equal(refused.code, 1)
  t.match(refused.stderr, /^error: expected no file at the output, found one/)
  t.equal(readFileSync(output, 'utf8'), 'old')
  t.equal((await cli(['quantize', SAMPLE, '--output', output, '--force'])).code, 0)
  t.equal(readModel(output).tensors.length, 15)
  t.same(filesIn(folder), ['old.apr'])
})

void test('--plan says what would be done, and writes nothing', async (t) => {
  const folder = t.testdir()
  copyFileSync(SAMPLE, join(folder, 'model.apr'))
  const { code, stdout, stderr } = await cli(['quantize', 'model.apr', '--plan'], folder)
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(
    stdout,
    'model.apr -> model.q4k.apr\n  1,239,684 bytes -> 254,532 bytes, 4.87 times smaller, 6.54 bits a weight\n',
  )
  t.match(stdout, /\nlstm_cell\.weight_hh +\[512, 128\] +F32 -> Q4_K +262,144 +73,728 +quantized\n/)
  t.match(stdout, 'before: F32 15 (1.24 MB)')

  const json = await cli(['quantize', 'model.apr', '--plan', '--json', '--fit', 'minmax', '--kept', 'same'], folder)
  const found = JSON.parse(json.stdout) as Record<string, unknown>
  t.type(found['freeBytes'], 'number')
  const output = join(folder, 'model.q4k.apr')
  const expected = await plan(join(folder, 'model.apr'), { fit: 'minmax', kept: 'same', output })
  const place = { input: 'model.apr', output: 'model.q4k.apr', freeBytes: found['freeBytes'] }
  t.same(found, { schemaVersion: 1, ...expected, ...place })
  t.same(filesIn(folder), ['model.apr'])
})

void test('--json prints the report as one object and nothing else', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const { code, stdout, stderr } = await cli(['quantize', SAMPLE, '-o', output, '--json', '--mode', 'stream'])
  t.equal(code, 0)
  t.equal(stderr, '')
  const { seconds, peakMemoryBytes, ...report } = JSON.parse(stdout) as Record<string, unknown>
  t.type(seconds, 'number')
  t.type(peakMemoryBytes, 'number')
  t.match(report, {
    input: SAMPLE,
    output,
    mode: 'stream',
    inputBytes: 1_239_684,
    outputBytes: 254_532,
    tensors: 15,
    quantized: 7,
    kept: 8,
    reasons: { selected: 7, rank: 7, size: 1 },
    warnings: [],
  })
})

void test('--only and --skip choose tensors by globs, several of them together', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const quantizedWith = async (...flags: string[]): Promise<string[]> => {
    const { code } = await cli(['quantize', SAMPLE, '-o', output, '-f', '--fit', 'minmax', ...flags])
    t.equal(code, 0)
    return Object.entries(dtypesIn(output)).flatMap(([name, dtype]) => (dtype === 'Q4_K' ? [name] : []))
  }
  const lstm = ['lstm_cell.weight_hh', 'lstm_cell.weight_ih']
  t.same(await quantizedWith('--only', 'lstm_*'), lstm)
  t.same(await quantizedWith('--only', 'lstm_*', '--skip', '*_hh'), ['lstm_cell.weight_ih'])
  t.same(await quantizedWith('--only', 'conv1.*', '--only', 'conv[34].*'), [
    'conv1.weight',
    'conv3.weight',
    'conv4.weight',
  ])
  t.same(await quantizedWith('--skip', '{conv,stft}*', '--skip', 'nothing'), lstm)
  t.same(await quantizedWith('--only', '!lstm_*'), [], 'an exclamation mark is a character like any other')
  t.same(
    await quantizedWith('--only', '*'),
    Object.keys(dtypesIn(fixtureQ4K)).filter((name) => /weight/.test(name) && name !== 'final_conv.weight'),
  )
})

void test('--compat apr writes the tensors that `apr quantize` writes', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const { code, stderr } = await cli(['quantize', SAMPLE, '-o', output, '--compat', 'apr'])
  t.equal(code, 0)
  t.equal(stderr, '')
  t.same(readModel(output).tensors, readModel(fixtureQ4K).tensors)

  for (const other of [
    ['--fit', 'search'],
    ['--kept', 'auto'],
    ['--kept', 'same'],
  ]) {
    const refused = await cli(['quantize', SAMPLE, '-o', join(folder, 'no.apr'), '--compat', 'apr', ...other])
    t.equal(refused.code, 2)
    t.match(refused.stderr, /^error: --compat apr means/)
  }
  t.equal(
    (await cli(['quantize', SAMPLE, '-fo', output, '--compat', 'apr', '--fit', 'minmax', '--kept', 'f32'])).code,
    0,
  )

  const embedding = join(folder, 'embedding.apr')
  writeFileSync(embedding, modelBytes({ tensors: [arbitraryTensor('token_embd.weight', 'F32', [8, 300])] }))
  const warned = await cli(['quantize', embedding, '-fo', output, '--compat', 'apr'])
  t.equal(warned.code, 0)
  t.match(warned.stderr, /^warning: the embedding "token_embd\.weight" .*rows of 300.*\n$/)
  t.same(dtypesIn(output), { 'token_embd.weight': 'Q4_K' })
  t.match((await cli(['quantize', embedding, '-fo', output])).stderr, /^warning: no tensor is quantized; .*name 1\n$/)
  t.same(dtypesIn(output), { 'token_embd.weight': 'F32' })
})

void test('wrong usage exits with 2 and does nothing', async (t) => {
  const folder = t.testdir()
  copyFileSync(SAMPLE, join(folder, 'model.apr'))
  const cases = [
    [],
    ['quantize'],
    ['quantize', 'model.apr', '--unknown'],
    ['quantize', 'model.apr', '--fit', 'best'],
    ['quantize', 'model.apr', '--only', ''],
    ['quantize', 'model.apr', '-o'],
    ['quantize', 'model.apr', '--threads', '0'],
    ['verify', 'model.apr', '--only', 'x'],
  ]
  const results = await Promise.all(cases.map((args) => cli(args, folder)))
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    t.equal(code, 2, `apr-stream ${cases[i]?.join(' ') ?? ''}`)
    t.equal(stdout, '')
    t.notMatch(stderr, /\n {4}at /)
  }
  t.same(filesIn(folder), ['model.apr'])
})

void test('a failure exits with 1 and one line, with --debug also the stack', async (t) => {
  const folder = t.testdir({ 'text.apr': 'no model at all', folder: {} })
  writeFileSync(join(folder, 'nan.apr'), modelBytes({ tensors: [brokenTensor('w')] }))
  const cases: [string[], RegExp][] = [
    [['quantize', 'missing.apr'], /ENOENT.*missing\.apr/],
    [['quantize', 'text.apr'], /expected an APR v2 file.*text\.apr/],
    [['quantize', 'folder'], /file folder/],
    [['quantize', 'nan.apr'], /expected finite numbers, found NaN.*tensor "w", element 777/],
    [['quantize', 'nan.apr', '-o', 'missing/out.apr'], /ENOENT/],
    [['quantize', 'nan.apr', '-f', '-o', 'nan.apr'], /expected an output that is not the input/],
    [['verify', 'missing.apr'], /ENOENT/],
    [['verify', 'text.apr'], /expected an APR v2 file/],
  ]
  const results = await Promise.all(cases.map(([args]) => cli(args, folder)))
  for (const [i, [args, message]] of cases.entries()) {
    t.comment(args.join(' '))
    t.match(results[i], { code: 1, stdout: '', stderr: /^error: [^\n]+\n$/ }, 'one line')
    t.match(results[i]?.stderr, message)
  }
  const debug = await cli(['quantize', 'nan.apr', '--debug'], folder)
  t.equal(debug.code, 1)
  t.match(debug.stderr, /^error: [^\n]+\n.*AprError: [^\n]+\n {4}at /s)
  t.same(filesIn(folder), ['folder', 'nan.apr', 'text.apr'], 'nothing is left')
})

void test('with --json a failure is an object with the fields of the error', async (t) => {
  const folder = t.testdir({ 'text.apr': 'no model at all' })
  const input = join(folder, 'nan.apr')
  writeFileSync(input, modelBytes({ tensors: [brokenTensor('w')] }))
  const { code, stdout, stderr } = await cli(['quantize', input, '--json'])
  t.equal(code, 1)
  t.match(stderr, /^error: [^\n]+\n$/)
  const { error } = JSON.parse(stdout) as { error: Record<string, unknown> }
  t.match(error, { code: 'APR_BAD_VALUE', tensor: 'w', element: 777, value: 'NaN', message: /expected finite numbers/ })

  const check = async (command: string): Promise<void> => {
    const text = await cli([command, join(folder, 'text.apr'), '--json'])
    t.equal(text.code, 1)
    const found = JSON.parse(text.stdout) as { error: Record<string, unknown> }
    t.match(found.error, { code: 'APR_BAD_MAGIC', offset: 0, file: join(folder, 'text.apr') })
    const missing = await cli([command, join(folder, 'missing.apr'), '--json'])
    t.match(JSON.parse(missing.stdout), { error: { code: 'ENOENT' } })
  }
  await Promise.all(['quantize', 'inspect', 'verify'].map(check))
})

void test('--quiet prints nothing but errors', async (t) => {
  const folder = t.testdir()
  const embedding = join(folder, 'in.apr')
  writeFileSync(embedding, modelBytes({ tensors: [arbitraryTensor('token_embd.weight', 'F32', [8, 300])] }))
  const silent = { code: 0, stdout: '', stderr: '' }
  t.same(await cli(['quantize', embedding, '--quiet', '--compat', 'apr']), silent)
  t.same(await cli(['quantize', embedding, '-q', '--compat', 'apr', '--plan']), silent)
  const failed = await cli(['quantize', embedding, '-q'])
  t.equal(failed.code, 1)
  t.match(failed.stderr, /^error: /)
})

void test('--help and --version exit with 0', async (t) => {
  t.same(await cli(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
  const cases = [['--help'], ['quantize', '-h'], ['help', 'verify']]
  for (const { code, stdout, stderr } of await Promise.all(cases.map((args) => cli(args)))) {
    t.equal(code, 0)
    t.match(stdout, /^Usage: apr-stream/)
    t.equal(stderr, '')
  }
})

void test('inspect shows a model, and verify checks one', async (t) => {
  const folder = t.testdir()
  const every = fixture('every-dtype.apr')
  const { code, stdout } = await cli(['inspect', every])
  t.equal(code, 0)
  t.match(stdout, /every-dtype\.apr: APR 2\.0, 8,900 bytes \(8\.90 kB\)\nflags: rowMajor\nchecksum: present\n/)
  for (const { name, dtype, shape } of readModel(every).tensors) {
    t.ok(
      stdout
        .split('\n')
        .some((line) => line.includes(name) && line.includes(dtype) && line.includes(`[${shape.join(', ')}]`)),
    )
  }
  const json = (await cli(['inspect', every, '--json'])).stdout
  t.equal((JSON.parse(json) as { tensors: unknown[] }).tensors.length, 16)
  t.ok(json.includes(readModel(every).metadata), 'with the metadata as it stands in the file')

  const good = await cli(['verify', every])
  t.same([good.code, good.stderr], [0, ''])
  t.match(good.stdout, /good; 16 tensors, 8\.90 kB, the checksum is right\n$/)
  t.match(JSON.parse((await cli(['verify', every, '--json'])).stdout), { ok: true, footer: 'good', verified: 16 })

  const file = readFileSync(every)
  const cut = join(folder, 'cut.apr')
  writeFileSync(cut, file.subarray(0, -4))
  t.match(await cli(['verify', cut]), { code: 0, stdout: /no checksum in the file/ })

  const wrong = join(folder, 'wrong.apr')
  writeFileSync(wrong, Buffer.concat([file.subarray(0, -4), Buffer.alloc(4)]))
  t.match(await cli(['verify', wrong]), { code: 1, stdout: '', stderr: /^error: expected checksum 0x[^\n]+\n$/ })
  const report = await cli(['verify', wrong, '--json'])
  t.equal(report.code, 1)
  t.match(JSON.parse(report.stdout), { ok: false, footer: 'wrong', error: { code: 'APR_BAD_CRC', offset: 8896 } })
})

/** Escape sequences, bell, line breaks, the one-byte CSI of C1, DEL, and characters that reorder text. */
const EVIL = 'x\u001b[31m\u0007\r\n\u0000\u007f\u009b2J\u202e\u2066\u2028'
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

/** Files that are whole, that hold a NaN, and whose index is wrong, with such names. */
function evilModels(folder: string): string[] {
  const metadata = JSON.stringify({ [`key ${EVIL}`]: EVIL, name: EVIL })
  const index = modelBytes({ metadata, tensors: [arbitraryTensor(EVIL, 'F32', [4, 300])] })
  const start = Number(index.readBigUInt64LE(24))
  index.writeBigUInt64LE(7n, start + 2 + index.readUInt16LE(start) + 2)
  const files = {
    good: modelBytes({ metadata, tensors: [arbitraryTensor(`embd.${EVIL}`, 'F32', [4, 300])] }),
    broken: modelBytes({ metadata, tensors: [brokenTensor(EVIL)] }),
    index,
  }
  return Object.entries(files).map(([name, bytes]) => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  })
}

async function checkNoControl(t: Test, commands: string[][], parse: (stdout: string) => string): Promise<void> {
  const results = await Promise.all(commands.map((args) => cli(args)))
  for (const [i, { stdout, stderr }] of results.entries()) {
    const lines = (parse(stdout) + stderr).split('\n')
    t.notOk(
      lines.find((line) => CONTROL.test(line)),
      commands[i]?.map((arg) => basename(arg)).join(' ') ?? '',
    )
  }
  t.ok(
    results.some(({ stdout, stderr }) => /x\\u/.test(stdout + stderr)),
    'but the names are shown',
  )
}

void test('names from a file never reach the terminal as control characters', async (t) => {
  const commands = evilModels(t.testdir()).flatMap((path) => [
    ['quantize', path, '-o', `${path}.out`, '--debug', '--compat', 'apr'],
    ['quantize', path, '--plan', '--compat', 'apr'],
    ['inspect', path],
    ['verify', path],
  ])
  await checkNoControl(t, commands, (stdout) => stdout)
})

void test('nor do they with --json, where they stand as they are in the file', async (t) => {
  const [good = '', broken = '', index = ''] = evilModels(t.testdir())
  const commands = [
    ['quantize', good, '--plan', '--json', '--compat', 'apr'],
    ['quantize', broken, '--json'],
    ['inspect', good, '--json'],
    ['verify', index, '--json'],
  ]
  await checkNoControl(t, commands, (stdout) => {
    const found = JSON.stringify(JSON.parse(stdout))
    t.ok(found.includes(JSON.stringify(EVIL).slice(1, -1)), 'the name is exact')
    return stdout
  })
})

void test('a reader that closes the pipe early, as head does, is no failure', async (t) => {
  const path = join(t.testdir(), 'many.apr')
  const tensors = Array.from({ length: 5000 }, (_, i) => arbitraryTensor(`a long name of a tensor, ${i}`, 'U8', [1]))
  writeFileSync(path, modelBytes({ tensors }))
  for (const args of [
    ['inspect', path],
    ['inspect', path, '--json'],
    ['quantize', path, '--plan', '--json', '--quiet'],
  ]) {
    const child = start(args)
    const done = result(child)
    child.stdout?.once('data', () => child.stdout?.destroy())
    const { code, stderr } = await done
    t.same({ code, stderr }, { code: 0, stderr: '' }, args.join(' '))
  }
})

void test(
  'an interrupted job exits with 130, a terminated one with 143, and leaves nothing',
  { skip: process.platform === 'win32' },
  async (t) => {
    const folder = t.testdir()
    const input = join(folder, 'large.apr')
    writeSparseModel(input)
    const output = join(folder, 'out.apr')
    for (const [signal, exitCode] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      const child = start(['quantize', input, '-o', output, '--mode', 'stream', '--json'])
      const done = result(child)
      while (!existsSync(`${output}.partial`) && child.exitCode === null) await turns(1)
      child.kill(signal)
      const { code, stdout, stderr } = await done
      t.equal(code, exitCode)
      t.same(JSON.parse(stdout), { schemaVersion: 1, error: { code: 'ABORT_ERR', message: 'interrupted' } })
      t.equal(stderr, 'interrupted: nothing was written\n')
      t.same(filesIn(folder), ['large.apr'])
    }
  },
)

const fixtureQ4K = fixture('silero-vad.apr-quantize.apr')

/** A model of 4 GB of zeros that takes no room on the disk: long enough to be interrupted. */
function writeSparseModel(path: string): void {
  const rows = 2 ** 20
  const head = modelBytes({ tensors: [arbitraryTensor('w', 'F32', [1, 1024])] })
  const index = Number(head.readBigUInt64LE(24))
  const dataOffset = Number(head.readBigUInt64LE(32))
  head.writeBigUInt64LE(BigInt(rows), index + 5)
  head.writeBigUInt64LE(BigInt(rows) * 4096n, index + 29)
  const descriptor = openSync(path, 'w')
  writeSync(descriptor, head, 0, dataOffset)
  ftruncateSync(descriptor, dataOffset + rows * 4096)
  closeSync(descriptor)
  const { tensors } = parseModel(head)
  if (tensors[0]?.size !== rows * 4096) throw new Error('the head is not as expected')
}
