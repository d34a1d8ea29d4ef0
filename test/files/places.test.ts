/** Paths that can be no input or no output, and processes that change their folder. */
import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { test, type Test } from 'tap'
import { aprReader, aprWriter, inspect, openFile, plan, q4k, quantize, verify, type TensorRecord } from 'apr-stream'
import { filesIn, run, SAMPLE, sameBytes } from '../helpers/files.js'
import { spawnCli } from '../helpers/faults.js'

type Job = (input: string, output: string) => Promise<unknown>

const WRITERS: Record<string, Job> = {
  stream: (input, output) => quantize(input, output, { mode: 'stream', overwrite: true }),
  memory: (input, output) => quantize(input, output, { mode: 'memory', overwrite: true, spaceCheck: false }),
  pipeline: async (input, output) => run([aprReader(input), q4k(), aprWriter(output, { overwrite: true })]),
}
const READERS: Record<string, (input: string) => Promise<unknown>> = {
  inspect: (input) => inspect(input),
  verify: (input) => verify(input),
  plan: (input) => plan(input),
  openFile: (input) => openFile(input),
}

void test('an output in a folder that is not there is refused with that folder', async (t) => {
  const folder = t.testdir({ file: 'text' })
  const before = filesIn(folder)
  const jobs: Record<string, Job> = { ...WRITERS, plan: (input, output) => plan(input, { output }) }
  for (const [name, job] of Object.entries(jobs)) {
    const missing = join(folder, 'missing', 'deeper')
    await t.rejects(
      job(SAMPLE, join(missing, 'out.apr')),
      {
        code: 'ENOENT',
        path: missing,
        message: `ENOENT: expected an existing folder for the output, found none, '${missing}'`,
      },
      name,
    )
    const file = join(folder, 'file')
    await t.rejects(
      job(SAMPLE, join(file, 'out.apr')),
      {
        code: 'ENOTDIR',
        path: file,
        message: `ENOTDIR: expected an existing folder for the output, found a file in its place, '${file}'`,
      },
      name,
    )
  }
  t.same(filesIn(folder), before)
  const { status, stderr } = await spawnCli(['quantize', SAMPLE, '-o', join(folder, 'missing', 'out.apr')]).ended
  t.equal(status, 1)
  t.equal(
    stderr,
    `error: ENOENT: expected an existing folder for the output, found none, '${join(folder, 'missing')}'\n`,
  )
})

void test('an output whose path is a folder’s is refused, also where there is none', async (t) => {
  const folder = t.testdir({ there: {} })
  const jobs: Record<string, Job> = { ...WRITERS, plan: (input, output) => plan(input, { output }) }
  for (const name of ['there', 'missing']) {
    for (const end of [sep, `${sep}.`, `${sep}..`, `${sep}${sep}`]) {
      for (const [form, job] of Object.entries(jobs)) {
        const output = join(folder, name) + end
        const refusal = { code: 'EISDIR', path: output, message: /expected a file, found a directory/ }
        await t.rejects(job(SAMPLE, output), refusal, `${form}: ${name}${end}`)
      }
    }
  }
  t.same([filesIn(folder), filesIn(join(folder, 'there'))], [['there'], []])
  t.throws(() => aprWriter(`out${sep}`), { code: 'EISDIR' }, 'at once')
})

/** A named pipe; undefined where there is no such thing. */
function makePipe(path: string): boolean {
  return process.platform !== 'win32' && spawnSync('mkfifo', [path]).status === 0
}

void test('a pipe is refused as an input, and not waited for', async (t) => {
  const folder = t.testdir()
  const input = join(folder, 'pipe.apr')
  if (!makePipe(input)) return
  const refusal = { code: 'APR_UNSUPPORTED', file: input, message: /found a pipe, socket or device/ }
  for (const [name, read] of Object.entries(READERS)) {
    await t.rejects(read(input), refusal, name)
  }
  for (const [name, job] of Object.entries(WRITERS)) await t.rejects(job(input, join(folder, 'out.apr')), refusal, name)
  t.same(filesIn(folder), ['pipe.apr'])
})

void test('a pipe is refused as an output, and beside one, and not waited for', async (t) => {
  for (const name of ['out.apr', 'out.apr.partial', 'out.apr.partial.journal']) {
    const folder = t.testdir()
    if (!makePipe(join(folder, name))) return
    const code = name === 'out.apr.partial' ? 'APR_EXISTS' : 'APR_UNSUPPORTED'
    for (const [form, job] of Object.entries(WRITERS)) {
      await t.rejects(job(SAMPLE, join(folder, 'out.apr')), { code, file: join(folder, name) }, `${form}: ${name}`)
      t.same(filesIn(folder), [name])
    }
  }
})

/** Works in `folder` for a while. */
async function within(t: Test, folder: string, work: () => Promise<void>): Promise<void> {
  const before = process.cwd()
  t.teardown(() => process.chdir(before))
  process.chdir(folder)
  try {
    await work()
  } finally {
    process.chdir(before)
  }
}

void test('a process that changes its folder during a job changes nothing about it', async (t) => {
  const folder = t.testdir({ here: {}, there: {} })
  const [here, there] = [join(folder, 'here'), join(folder, 'there')]
  cpSync(SAMPLE, join(here, 'in.apr'))
  // What the same path means elsewhere.
  writeFileSync(join(there, 'in.apr'), 'another')
  await quantize(SAMPLE, join(folder, 'expected.apr'))
  const expected = readFileSync(join(folder, 'expected.apr'))

  await within(t, here, async () => {
    const jobs: Record<string, () => Promise<unknown>> = {
      stream: () => quantize('in.apr', 'out.apr', { mode: 'stream', recordBytes: 100_000 }),
      memory: () => quantize('in.apr', 'out.apr', { mode: 'memory', recordBytes: 100_000 }),
      pipeline: () => run([aprReader('in.apr'), q4k(), aprWriter('out.apr')]),
    }
    for (const [name, job] of Object.entries(jobs)) {
      const done = job()
      process.chdir(there)
      const report = (await done) as { input?: string; output?: string } | undefined
      if (report) t.match(report, { input: 'in.apr', output: 'out.apr' }, 'the report says what was given')
      sameBytes(t, readFileSync(join(here, 'out.apr')), expected, name)
      t.same(filesIn(there), ['in.apr'])
      t.same(filesIn(here), ['in.apr', 'out.apr'])
      rmSync(join(here, 'out.apr'))
      process.chdir(here)
    }

    // In the middle.
    let count = 0
    const leave = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
      for await (const record of records) {
        if (++count === 3) process.chdir(there)
        yield record
      }
    }
    await run([aprReader('in.apr'), leave, q4k(), aprWriter('out.apr')])
    sameBytes(t, readFileSync(join(here, 'out.apr')), expected, 'in the middle')
    process.chdir(here)

    const looks = [inspect('in.apr'), verify('in.apr'), plan('in.apr', { output: 'other.apr' })] as const
    process.chdir(there)
    const [inspected, verified, planned] = await Promise.all(looks)
    t.same([inspected.file, verified.file, planned.input], ['in.apr', 'in.apr', 'in.apr'])
    t.equal(verified.ok, true)
  })
})

void test('errors name a path as it was given', async (t) => {
  const folder = t.testdir({ 'bad.apr': 'no model', folder: {} })
  await within(t, folder, async () => {
    for (const [name, read] of Object.entries(READERS)) {
      await t.rejects(read('none.apr'), { code: 'ENOENT', path: 'none.apr', message: /'none\.apr'$/ }, name)
    }
    await t.rejects(openFile('folder'), { code: 'EISDIR', path: 'folder', message: /'folder'$/ })
    // A folder can be a model: of this one it is said what it lacks.
    const lacking = { code: 'APR_BAD_INDEX', file: 'folder', message: /found none of them/ }
    await t.rejects(inspect('folder'), lacking)
    await t.rejects(plan('folder'), lacking)
    t.match((await verify('folder')).error, lacking)
    await t.rejects(inspect('bad.apr'), { code: 'APR_BAD_MAGIC', file: 'bad.apr' })
    const { error } = await verify('bad.apr')
    t.match(error, { file: 'bad.apr' })
    await t.rejects(run([aprReader(SAMPLE), noRecords, aprWriter('out.apr')]), {
      code: 'APR_BAD_RECORD',
      file: 'out.apr',
    })
  })
})

// eslint-disable-next-line require-yield
async function* noRecords(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) record.data.slice()
}

void test('an input is found as the system does: `..` behind a link leads to where the link leads', async (t) => {
  if (process.platform === 'win32') return
  const folder = t.testdir({ real: { deep: {} }, link: t.fixture('symlink', join('real', 'deep')) })
  symlinkSync(SAMPLE, join(folder, 'real', 'in.apr'))
  await quantize([folder, 'link', '..', 'in.apr'].join(sep), join(folder, 'out.apr'))
  await t.rejects(inspect(`${SAMPLE}${sep}`), { code: 'ENOTDIR' }, 'and a file is no folder')
})
