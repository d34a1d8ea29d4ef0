/** Two that want to write the same output: one does, the other is told at once. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { quantize, type QuantizeReport } from 'apr-stream'
import { filesIn, SAMPLE, sameBytes } from '../helpers/files.js'
import { intercept, spawnJob, until } from '../helpers/faults.js'

const OPTIONS = { fit: 'minmax', mode: 'stream', recordBytes: 400_000 } as const

type Printed = Partial<QuantizeReport> & { code?: string; message?: string }

void test('of processes that start together one writes, and the others are refused', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  await quantize(SAMPLE, output, OPTIONS)
  const expected = readFileSync(output)
  for (let round = 0; round < 3; round++) {
    const overwrite = round > 0
    if (!overwrite) renameSync(output, join(folder, 'first.apr'))
    const children = Array.from({ length: 4 }, () => spawnJob(SAMPLE, output, { ...OPTIONS, overwrite }))
    const printed = (await Promise.all(children.map(({ ended }) => ended))).map(
      ({ stdout }) => JSON.parse(stdout) as Printed,
    )
    const codes = printed.map(({ code }) => code ?? 'done')
    t.ok(codes.includes('done'), codes.join(', '))
    t.ok(
      codes.every((code) => ['done', 'APR_BUSY', ...(overwrite ? [] : ['APR_EXISTS'])].includes(code)),
      'each is done or refused',
    )
    if (!overwrite) t.equal(codes.filter((code) => code === 'done').length, 1, 'one is done')
    sameBytes(t, readFileSync(output), expected, 'the bytes are right')
    t.same(filesIn(folder), ['first.apr', 'out.apr'])
  }
})

void test('while a process writes an output another is refused at once, and told by whom', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const child = spawnJob(SAMPLE, output, OPTIONS, { stopAt: 'link out.apr.partial' })
  // Stopped with all but the last step done.
  t.teardown(() => child.process.kill('SIGKILL'))
  await until(() => stateOf(child.process.pid) === 'T')
  const started = performance.now()
  await t.rejects(
    quantize(SAMPLE, output, OPTIONS).then(() => undefined),
    {
      code: 'APR_BUSY',
      message: new RegExp(`process ${child.process.pid ?? ''} is`),
      file: output,
    },
  )
  t.ok(performance.now() - started < 1000)
  t.same(filesIn(folder), ['out.apr.partial', 'out.apr.partial.journal'], 'and touches nothing')
  child.process.kill('SIGCONT')
  t.equal((await child.ended).status, 0)
  t.same(filesIn(folder), ['out.apr'])
})

void test('a job that lost its lock while it slept writes nothing', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  let bytes: Buffer | undefined
  await t.rejects(
    intercept(
      async ({ label }, perform) => {
        if (label === 'fsync out.apr.partial' && bytes === undefined) {
          // As the message allows, somebody removes the lock of a process that seems to hang, and starts another.
          renameSync(`${output}.partial.journal`, join(folder, 'removed'))
          renameSync(`${output}.partial`, join(folder, 'removed.partial'))
          t.equal((await spawnJob(SAMPLE, output, { ...OPTIONS, fit: 'search' }).ended).status, 0)
          bytes = readFileSync(output)
        }
        return await perform()
      },
      () => quantize(SAMPLE, output, { ...OPTIONS, overwrite: true }),
    ),
    { code: 'APR_BUSY' },
  )
  sameBytes(t, readFileSync(output), bytes ?? Buffer.of(), 'the file of the other stays')
  t.same(filesIn(folder), ['out.apr', 'removed', 'removed.partial'])
})

void test('two jobs of one process: one writes, the other is refused', async (t) => {
  const folder = t.testdir({ real: {}, link: t.fixture('symlink', 'real') })
  const paths = ['real', 'link', 'real/../link'].map((name) => join(folder, name, 'out.apr'))
  for (const form of ['stream', 'memory'] as const) {
    let settled = 0
    const results = await intercept(
      async ({ label }, perform) => {
        // The one that writes waits for the others: they all want the output at the same time.
        if (label === 'fsync out.apr.partial') await until(() => settled >= paths.length - 1)
        return await perform()
      },
      () =>
        Promise.allSettled(
          paths.map((path) =>
            quantize(SAMPLE, path, { ...OPTIONS, mode: form, overwrite: form === 'memory' }).finally(() => settled++),
          ),
        ),
    )
    t.same(results.filter(({ status }) => status === 'fulfilled').length, 1, 'through whatever path')
    for (const result of results) if (result.status === 'rejected') t.match(result.reason, { code: 'APR_BUSY' })
    t.same(filesIn(join(folder, 'real')), ['out.apr'])
  }
})

void test('a job that starts while another of the same process gives its lock up is refused, or has one of its own', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  await quantize(SAMPLE, output, OPTIONS)
  for (const at of ['close out.apr.partial.journal', 'remove out.apr.partial.journal']) {
    let second: Promise<unknown> | undefined
    await intercept(
      async (call, perform) => {
        if (call.label === at && second === undefined) {
          second = quantize(SAMPLE, output, { ...OPTIONS, overwrite: true }).then(
            () => 'done',
            (error: unknown) => (error as { code: string }).code,
          )
          await new Promise((done) => setTimeout(done, 20))
        }
        return await perform()
      },
      async () => {
        await quantize(SAMPLE, output, { ...OPTIONS, overwrite: true })
        t.ok(['done', 'APR_BUSY'].includes(String(await second)), String(await second))
      },
    )
    t.same(filesIn(folder), ['out.apr'])
    if ((await second) === 'APR_BUSY') t.pass('it was refused at once')
  }
})

void test('a lock is whole also where the disk takes it in pieces', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const child = spawnJob(SAMPLE, output, { ...OPTIONS, overwrite: true })
  await child.ended
  let second: unknown
  await intercept(
    async ({ label, args }, perform) => {
      if (label === 'write out.apr.partial.journal') {
        const [descriptor, bytes, offset, length, position] = args as [number, Buffer, number, number, number]
        return await perform([descriptor, bytes, offset, Math.ceil(length / 2), position])
      }
      if (label === 'fsync out.apr.partial') {
        second ??= await spawnJob(SAMPLE, output, { ...OPTIONS, overwrite: true }).ended.then(
          ({ stdout }) => (JSON.parse(stdout) as Printed).code,
        )
      }
      return await perform()
    },
    () => quantize(SAMPLE, output, { ...OPTIONS, overwrite: true }),
  )
  t.equal(second, 'APR_BUSY')
})

void test('a lock is taken over when its process is gone, and only then', async (t) => {
  const own = /^.*\) (.*)$/s.exec(readFileSync('/proc/self/stat', 'utf8'))?.[1]?.split(' ')[19]
  const child = await spawnJob('none.apr', 'none.q4k.apr', {}).ended
  t.equal(child.status, 1)
  const parent = process.ppid
  const locks: Record<string, { line: string; code?: string; message?: RegExp }> = {
    'of a process that is dead': { line: JSON.stringify({ pid: 4_194_303, started: '1', host: hostname() }) },
    'of a process whose number another one has now': {
      line: JSON.stringify({ pid: parent, started: '1', host: hostname() }),
    },
    'of an earlier process with the number of this one': {
      line: JSON.stringify({ pid: process.pid, started: own, host: hostname() }),
    },
    'that nobody can read': { line: '\0\0\0' },
    'of a living process whose start is not known': {
      line: JSON.stringify({ pid: parent, host: hostname() }),
      code: 'APR_BUSY',
      message: new RegExp(`found that process ${parent} is \\(file .*out\\.apr\\)$`),
    },
    'of another machine': {
      line: JSON.stringify({ pid: 1, started: '1', host: 'elsewhere' }),
      code: 'APR_BUSY',
      message:
        /found that process 1 of elsewhere is: its lock was written \d+ s ago, and counts as abandoned when nobody has written it for 60 s/,
    },
  }
  for (const [what, { line, code, message }] of Object.entries(locks)) {
    for (const resume of [false, true]) {
      const folder = t.testdir({ 'out.apr.partial': 'left', 'out.apr.partial.journal': `${line}\n{"job":"x"}\n` })
      const output = join(folder, 'out.apr')
      const job = quantize(SAMPLE, output, { ...OPTIONS, resume })
      if (code === undefined) {
        await job
        t.same(filesIn(folder), ['out.apr'], `a lock ${what} is taken over`)
      } else {
        await t.rejects(job, { code, message }, `a lock ${what} holds`)
        t.same(filesIn(folder), ['out.apr.partial', 'out.apr.partial.journal'])
      }
    }
  }
})

void test('a partial file without a journal is nobody of ours: it is refused and never touched', async (t) => {
  for (const options of [{}, { overwrite: true }, { resume: true }, { mode: 'memory' as const }]) {
    const folder = t.testdir({ 'out.apr.partial': 'of somebody else' })
    await t.rejects(quantize(SAMPLE, join(folder, 'out.apr'), { ...OPTIONS, ...options }), {
      code: 'APR_EXISTS',
      message: /no journal.*move it away/,
      file: join(folder, 'out.apr.partial'),
    })
    t.same(filesIn(folder), ['out.apr.partial'])
    t.equal(readFileSync(join(folder, 'out.apr.partial'), 'utf8'), 'of somebody else')
  }
})

void test('an output that appears while another is made is not replaced without `overwrite`', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  for (const label of ['stat out.apr', 'link out.apr.partial']) {
    let turn = 0
    await t.rejects(
      intercept(
        async (call, perform) => {
          // At the first look there must be none.
          if (call.label === label && turn++ === (label === 'link out.apr.partial' ? 0 : 2))
            writeFileSync(output, 'new')
          return await perform()
        },
        () => quantize(SAMPLE, output, OPTIONS),
      ),
      { code: 'APR_EXISTS' },
    )
    t.equal(readFileSync(output, 'utf8'), 'new')
    t.same(filesIn(t.testdirName), ['out.apr'])
    renameSync(output, join(t.testdirName, '..', 'gone'))
  }
})

void test('on a file system without hard links the output is renamed to its place', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  await intercept(
    async ({ name }, perform) => {
      if (name === 'link') throw Object.assign(new Error('injected'), { code: 'EPERM' })
      return await perform()
    },
    () => quantize(SAMPLE, output, OPTIONS),
  )
  t.same(filesIn(t.testdirName), ['out.apr'])
})

void test('a partial file that is a second name of the finished output is not written to', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  await spawnJob(SAMPLE, output, OPTIONS, { killAt: 25 }).ended
  const journal = readFileSync(`${output}.partial.journal`)
  await quantize(SAMPLE, output, OPTIONS)
  mkdirSync(join(folder, 'kept'))
  linkSync(output, `${output}.partial`)
  writeFileSync(`${output}.partial.journal`, journal)
  symlinkSync(output, join(folder, 'kept', 'link'))
  await quantize(SAMPLE, output, { ...OPTIONS, overwrite: true, resume: true })
  t.same(filesIn(folder), ['kept', 'out.apr'])
})

void test('a run that takes over what a killed one left fails cleanly, whichever call fails, and the next succeeds', async (t) => {
  const folder = join(t.testdir(), 'out')
  const output = join(folder, 'out.apr')
  mkdirSync(folder)
  await quantize(SAMPLE, output, OPTIONS)
  const expected = readFileSync(output)
  rmSync(output)
  await spawnJob(SAMPLE, output, OPTIONS, { killAt: 45 }).ended
  const left = filesIn(folder).map((name) => [name, readFileSync(join(folder, name))] as const)
  t.same(
    left.map(([name]) => name),
    ['out.apr.partial', 'out.apr.partial.journal'],
  )
  const problems: string[] = []
  let count = 0
  for (const resume of [false, true]) {
    for (let n = 0; ; n++) {
      rmSync(folder, { recursive: true })
      mkdirSync(folder)
      for (const [name, bytes] of left) writeFileSync(join(folder, name), bytes)
      let label: string | undefined
      await intercept(
        async (call, perform) => {
          if (call.number !== n) return await perform()
          label = call.label
          if (call.name === 'close') await perform()
          throw Object.assign(new Error('injected'), { code: 'EIO' })
        },
        () => quantize(SAMPLE, output, { ...OPTIONS, resume }).catch(() => undefined),
      )
      if (label === undefined) break
      count++
      try {
        await quantize(SAMPLE, output, { ...OPTIONS, resume, overwrite: true })
        if (!readFileSync(output).equals(expected)) problems.push(`call ${n}, ${label}: the next run wrote other bytes`)
      } catch (error) {
        problems.push(`call ${n}, ${label}: the next run failed: ${String(error)}`)
      }
      const names = filesIn(folder).join(', ')
      if (names !== 'out.apr') problems.push(`call ${n}, ${label}: the next run left ${names}`)
    }
  }
  t.same(problems, [], `${count} failures`)
})

function stateOf(pid: number | undefined): string {
  return readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .charAt(0)
}
