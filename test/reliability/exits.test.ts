/** A process that exits in the middle of its jobs, or right after one has failed. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { convert, quantize } from 'apr-stream'
import { filesIn, SAMPLE, sameBytes } from '../helpers/files.js'
import { contents, largeModel, PLAIN_ENVIRONMENT, spawnCli, until } from '../helpers/faults.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Runs a program that has the package, `input` and `output`; returns its exit status. */
function exitOf(body: string, output: string, prefix = ''): number | null {
  const program = `
    import fs from 'fs-extra'
    import { pipeline } from 'node:stream/promises'
    import { aprReader, aprWriter, q4k, quantize } from 'apr-stream'
    const [input, output] = ${JSON.stringify([SAMPLE, output])}
    const READS = { recordBytes: 70_000, highWaterMark: 200_000 }
    const OPTIONS = { ...READS, fit: 'minmax', overwrite: true }
    ${body}`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', prefix + program], {
    cwd: ROOT,
    env: PLAIN_ENVIRONMENT,
    encoding: 'utf8',
  })
  if (stderr !== '') throw new Error(stderr)
  return status
}

/** Stages that exit or throw at their tenth record. */
const AT_TENTH = (what: string): string => `
  let count = 0
  async function* stage(records) {
    for await (const record of records) {
      if (++count === 10) ${what}
      yield record
    }
  }`

const PROGRAMS: Record<string, string> = {
  'right after a pipeline failed': `${AT_TENTH("throw new Error('ten')")}
    try {
      await pipeline(aprReader(input, READS), stage, q4k(), aprWriter(output, { overwrite: true }))
    } catch {
      process.exit(7)
    }`,
  'in the middle of a pipeline': `${AT_TENTH('process.exit(7)')}
    await pipeline(aprReader(input, READS), stage, q4k(), aprWriter(output, { overwrite: true }))`,
  'in the middle of a pipeline that is to move its data': `
    const { rename } = fs
    fs.rename = (...args) => (String(args[0]).endsWith('.moved.partial') ? process.exit(7) : rename(...args))
    async function* drop(records) {
      for await (const record of records) if (!record.name.includes('bias')) yield record
    }
    await pipeline(aprReader(input, READS), drop, aprWriter(output, { overwrite: true }))`,
  'in the middle of mode stream': `
    await quantize(input, output, { ...OPTIONS, mode: 'stream', onProgress: ({ tensors }) => tensors > 5 && process.exit(7) })`,
  'in the middle of mode memory': `
    await quantize(input, output, { ...OPTIONS, mode: 'memory', onProgress: ({ tensors }) => tensors > 5 && process.exit(7) })`,
  'in the middle of two jobs': `
    const other = output.replace('out.apr', 'other.apr')
    const open = new Set()
    const onProgress = (path) => () => open.add(path).size === 2 && setImmediate(() => process.exit(7))
    const job = (path) => quantize(input, path, { ...OPTIONS, mode: 'stream', onProgress: onProgress(path) })
    await Promise.all([output, other].map(job))`,
  'when nothing is left to wait for': `
    process.exitCode = 7
    async function* stall(records) {
      for await (const record of records) {
        yield record
        if (fs.existsSync(output + '.partial')) await new Promise(() => undefined)
      }
    }
    pipeline(aprReader(input, READS), stall, aprWriter(output, { overwrite: true }))`,
  'because of an error that nobody caught': `
    process.on('uncaughtException', () => process.exit(7))
    await quantize(input, output, { ...OPTIONS, mode: 'stream', onProgress({ tensors }) {
      if (tensors > 5) setImmediate(() => { throw new Error('elsewhere') })
    } })`,
}

for (const [when, program] of Object.entries(PROGRAMS)) {
  void test(`a process that exits ${when} leaves nothing but what stood there`, (t) => {
    const folder = t.testdir({ 'out.apr': 'old' })
    t.equal(exitOf(program, join(folder, 'out.apr')), 7)
    t.same(filesIn(folder), ['out.apr'])
    t.equal(readFileSync(join(folder, 'out.apr'), 'utf8'), 'old')
    t.end()
  })
}

void test('a process that exits while it writes several files leaves nothing but what stood there, or with resume what goes on', async (t) => {
  const model = 'test/fixtures/hf/small/models/tiny-llama-f32'
  const options = { splitMaxBytes: 100_000, recordBytes: 4096, highWaterMark: 1 }
  const program = (output: string, more: object): string => `
    const { convert } = await import('apr-stream')
    const onProgress = ({ bytes, totalBytes }) => bytes > 0.7 * totalBytes && process.exit(7)
    await convert(${JSON.stringify(model)}, ${JSON.stringify(output)}, { ...${JSON.stringify({ ...options, ...more })}, onProgress })`
  for (const [output, more] of [
    ['x.gguf', { pre: 'smollm' }],
    ['new/', {}],
  ] as const) {
    const folder = t.testdir({ whole: {}, broken: {} })
    const [whole, broken] = ['whole', 'broken'].map((name) => join(folder, name, output)) as [string, string]
    t.equal(exitOf(program(broken, more), broken), 7)
    t.same(filesIn(join(folder, 'broken')), [], `${output}: nothing is left`)
    t.equal(exitOf(program(broken, { ...more, resume: true }), broken), 7)
    await convert(model, whole, { ...options, ...more })
    const { resumedTensors } = await convert(model, broken, { ...options, ...more, resume: true })
    t.ok(resumedTensors > 0, `${output}: ${resumedTensors} tensors were there`)
    const inside = output === 'new/' ? output : ''
    t.same(contents(join(folder, 'broken', inside)), contents(join(folder, 'whole', inside)), output)
  }
})

void test('a process that exits before any call that it makes while it writes leaves nothing', (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const program = (at: number): string => `
    let count = 0
    let isTaken = false
    // Not at an open: one that is under way cannot be taken back, so a lock may be left, and is one of the dead.
    const names = ['write', 'fsync', 'close', 'fstat', 'stat', 'fchmod', 'link', 'rename', 'remove', 'ftruncate', 'readdir']
    for (const name of names) {
      const original = fs[name]
      fs[name] = (...args) => {
        isTaken ||= String(args[0]).endsWith('.partial.journal')
        if (isTaken && count++ === ${at}) process.exit(7)
        return original.apply(fs, args)
      }
    }
    await quantize(input, output, { ...READS, fit: 'minmax', mode: 'stream' })`
  let exits = 0
  const left: string[] = []
  for (let at = 0; ; at += 3) {
    const status = exitOf(program(at), output)
    const found = filesIn(folder).filter((name) => name !== 'out.apr')
    if (found.length > 0) left.push(`call ${at}: ${found.join(', ')}`)
    rmSync(output, { force: true })
    if (status !== 7) break
    exits++
  }
  t.same(left, [], `${exits} exits`)
  t.ok(exits > 8)
  t.end()
})

void test('a process that exits in the middle of a job with resume leaves what the next one goes on with', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(3_000_000, 'F32', 6))
  const options = { fit: 'minmax', mode: 'stream', recordBytes: 1 << 20, highWaterMark: 1 } as const
  await quantize(input, output, options)
  const expected = readFileSync(output)
  rmSync(output)
  const program = `
    const onProgress = ({ bytes, totalBytes }) => bytes > 0.6 * totalBytes && process.exit(7)
    await quantize(${JSON.stringify(input)}, output, { ...${JSON.stringify(options)}, resume: true, onProgress })`
  t.equal(exitOf(program, output), 7)
  t.same(filesIn(folder), ['in.apr', 'out.apr.partial', 'out.apr.partial.journal'])
  const report = await quantize(input, output, { ...options, resume: true })
  t.ok(report.resumedTensors > 0, `${report.resumedTensors} tensors were there`)
  sameBytes(t, readFileSync(output), expected, 'the bytes are right')
})

void test('a process that exits removes nothing of a job that has taken its output over', (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const program = `
    await quantize(input, output, { ...OPTIONS, mode: 'stream', onProgress({ tensors }) {
      if (tensors < 6) return
      for (const name of ['.partial', '.partial.journal']) {
        fs.removeSync(output + name)
        fs.writeFileSync(output + name, 'of another')
      }
      process.exit(7)
    } })`
  t.equal(exitOf(program, output), 7)
  t.same(filesIn(folder), ['out.apr.partial', 'out.apr.partial.journal'])
  t.end()
})

void test('when its work is done a process has nothing more to do at its exit', (t) => {
  const program = `
    const before = process.listenerCount('exit')
    await quantize(input, output, OPTIONS)
    await quantize(input + '.none', output, OPTIONS).catch(() => undefined)
    await pipeline(aprReader(input), q4k(), aprWriter(output)).catch(() => undefined)
    process.exitCode = 10 + process.listenerCount('exit') - before`
  t.equal(exitOf(program, join(t.testdir(), 'out.apr')), 10)
  t.end()
})

void test('a second Ctrl-C ends the command at once, and leaves nothing', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(20_000_000))
  const { process: child, ended } = spawnCli(['quantize', input, '-o', output, '--mode', 'stream', '--threads', '1'])
  await until(() => existsSync(`${output}.partial`))
  await new Promise((done) => setTimeout(done, 100))
  child.kill('SIGINT')
  child.kill('SIGTERM')
  const { status } = await ended
  t.ok(status === 130 || status === 143, `status ${status}`)
  t.same(filesIn(folder), ['in.apr'])
})
