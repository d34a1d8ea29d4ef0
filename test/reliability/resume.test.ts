/** Going on from what an earlier run has left, and starting over where that cannot be told to be right. */
import { cpSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { quantize, type QuantizeOptions, type QuantizeReport } from 'apr-stream'
import { filesIn, sameBytes, SAMPLE } from '../helpers/files.js'
import { contents, holdings, intercept, largeModel, spawnJob, until } from '../helpers/faults.js'

const LEFT = ['out.apr.partial', 'out.apr.partial.journal']

/** Each tensor is written by itself, so that some are noted before others. */
const OPTIONS = { fit: 'minmax', recordBytes: 1 << 20, highWaterMark: 1 } as const satisfies QuantizeOptions

/** A folder with an input, and what a run has left that was ended by its signal when half was read. */
async function interrupted(t: Test): Promise<{ folder: string; input: string; output: string; expected: Buffer }> {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(3_000_000, 'F32', 6))
  await quantize(input, output, { ...OPTIONS, mode: 'stream' })
  const expected = readFileSync(output)
  rmSync(output)
  await t.rejects(stopAfter(input, output, 0.6), { name: 'AbortError' })
  t.same(filesIn(folder), ['in.apr', ...LEFT], 'partial file and journal are left')
  t.ok(notes(output).length > 2, `${notes(output).length} tensors are noted`)
  return { folder, input, output, expected }
}

function stopAfter(
  input: string,
  output: string,
  share: number,
  options: QuantizeOptions = {},
): Promise<QuantizeReport> {
  const controller = new AbortController()
  return quantize(input, output, {
    ...OPTIONS,
    resume: true,
    ...options,
    signal: controller.signal,
    onProgress({ bytes, totalBytes }) {
      if (bytes >= share * totalBytes) controller.abort()
    },
  })
}

interface Note {
  name: string
  position: number
  size: number
}

/** The tensors that a journal notes. */
function notes(output: string): Note[] {
  const lines = readFileSync(`${output}.partial.journal`, 'utf8').split('\n').slice(2, -1)
  return lines.map((line) => JSON.parse(line) as Note)
}

/** Resumes, and compares the result with that of an unbroken run. */
async function resume(t: Test, job: { folder: string; input: string; output: string }, expected: Buffer, options = {}) {
  const report = await quantize(job.input, job.output, { ...OPTIONS, resume: true, ...options })
  sameBytes(t, readFileSync(job.output), expected, 'the bytes are those of an unbroken run')
  t.same(filesIn(job.folder), ['in.apr', 'out.apr'], 'nothing else is left')
  return report
}

void test('a run that resumes writes what is missing, and the result is that of an unbroken run', async (t) => {
  const job = await interrupted(t)
  const count = notes(job.output).length
  const held = holdings()
  const report = await resume(t, job, job.expected)
  t.equal(report.resumedTensors, count, `${count} tensors were there`)
  t.equal(report.restartReason, undefined)
  t.equal(holdings().descriptors, held.descriptors)
})

void test('a run may be broken off and resumed again and again', async (t) => {
  const job = await interrupted(t)
  for (const share of [0.1, 0.5, 0.8, 0.99]) {
    await t.rejects(stopAfter(job.input, job.output, share), { name: 'AbortError' })
    t.same(filesIn(job.folder), ['in.apr', ...LEFT])
  }
  const report = await resume(t, job, job.expected)
  t.ok(report.resumedTensors > 2)
  t.equal(report.restartReason, undefined)
})

void test('every tensor may be there already', async (t) => {
  const job = await interrupted(t)
  // The end fails: everything was written by then.
  await t.rejects(
    intercept(
      (call, perform) => {
        if (call.label === 'fsync out.apr.partial') throw Object.assign(new Error('fails'), { code: 'EIO' })
        return perform()
      },
      () => quantize(job.input, job.output, { ...OPTIONS, resume: true }),
    ),
    { code: 'EIO' },
  )
  t.same(filesIn(job.folder), ['in.apr', ...LEFT])
  const report = await resume(t, job, job.expected)
  t.ok(report.resumedTensors >= 11, `${report.resumedTensors} of ${report.tensors} tensors were there`)
})

const CHANGES: Record<string, { change: (job: Awaited<ReturnType<typeof interrupted>>) => unknown; reason: RegExp }> = {
  'the input has changed': {
    change({ input }) {
      const { mtimeMs } = statSync(input)
      utimesSync(input, new Date(), new Date(mtimeMs + 1000))
    },
    reason: /input, the options or the version/,
  },
  'the version is another': {
    change({ output }) {
      patchJournal(output, (text) => text.replace(/"job":"./, '"job":"x'))
    },
    reason: /input, the options or the version/,
  },
  'a byte of a noted tensor is another': {
    change({ output }) {
      const { position, size } = notes(output)[1] ?? { position: 0, size: 0 }
      const bytes = readFileSync(`${output}.partial`)
      bytes[position + size - 1] = (bytes[position + size - 1] ?? 0) ^ 1
      writeFileSync(`${output}.partial`, bytes)
    },
    reason: /damaged in tensor 0\./,
  },
  'the partial file is shorter than noted': {
    change({ output }) {
      const { position, size } = notes(output).at(-1) ?? { position: 0, size: 0 }
      writeFileSync(`${output}.partial`, readFileSync(`${output}.partial`).subarray(0, position + size - 1))
    },
    reason: /damaged in tensor/,
  },
  'the journal is garbage': {
    change({ output }) {
      writeFileSync(`${output}.partial.journal`, Buffer.alloc(5000, '\u{1F4A9}'))
    },
    reason: /cannot be told to be of the same job/,
  },
  'the journal is empty': {
    change({ output }) {
      writeFileSync(`${output}.partial.journal`, '')
    },
    reason: /cannot be told to be of the same job/,
  },
  'the partial file is gone': {
    change({ output }) {
      rmSync(`${output}.partial`)
    },
    reason: /is gone/,
  },
}

for (const [what, { change, reason }] of Object.entries(CHANGES)) {
  void test(`where ${what}, a run that resumes starts over and says why`, async (t) => {
    const job = await interrupted(t)
    change(job)
    const report = await resume(t, job, job.expected)
    t.match(report.restartReason, reason)
    t.equal(report.resumedTensors, 0)
  })
}

void test('other options are another job', async (t) => {
  const job = await interrupted(t)
  for (const options of [{ fit: 'search' }, { select: () => false }] as const) {
    const expected = join(job.folder, 'expected.apr')
    await quantize(job.input, expected, { ...OPTIONS, ...options })
    const bytes = readFileSync(expected)
    rmSync(expected)
    const report = await resume(t, job, bytes, options)
    t.match(report.restartReason, /input, the options or the version/)
    rmSync(job.output)
    await t.rejects(stopAfter(job.input, job.output, 0.6), { name: 'AbortError' })
  }
})

void test('of a journal that is cut off anywhere counts what is whole', async (t) => {
  const job = await interrupted(t)
  const kept = contents(job.folder)
  const journal = readFileSync(`${job.output}.partial.journal`)
  const partial = readFileSync(`${job.output}.partial`)
  const ends = [1, 20, 100, 140, 180, 220, journal.length - 30, journal.length - 1].filter(
    (end) => end < journal.length,
  )
  for (const end of ends) {
    writeFileSync(`${job.output}.partial`, partial)
    writeFileSync(`${job.output}.partial.journal`, journal.subarray(0, end))
    const report = await resume(t, job, job.expected)
    const whole = journal.subarray(0, end).toString().split('\n').slice(2, -1).length
    t.ok(report.resumedTensors === whole || report.resumedTensors === whole + 1, `cut at byte ${end}: ${whole} notes`)
    if (whole === 0 && end < 100) t.type(report.restartReason, 'string')
    rmSync(job.output)
  }
  t.ok(Object.keys(kept).length === 3)
})

void test('without `resume` nothing is gone on with, and nothing is left', async (t) => {
  const job = await interrupted(t)
  await t.rejects(stopAfter(job.input, job.output, 0.3, { resume: false, mode: 'stream' }), { name: 'AbortError' })
  t.same(filesIn(job.folder), ['in.apr'], 'also what the earlier run has left is gone')
  const report = await quantize(job.input, job.output, { ...OPTIONS, mode: 'stream' })
  t.equal(report.resumedTensors, 0)
  t.equal(report.restartReason, undefined)
  sameBytes(t, readFileSync(job.output), job.expected, 'the bytes are right')
})

void test('what a failing start of a run that resumes finds is there for the next', async (t) => {
  const job = await interrupted(t)
  const before = readFileSync(`${job.output}.partial`)
  const held = holdings()
  // The first read of the partial file fails, then the first write of the journal.
  for (const label of ['read out.apr.partial', 'open out.apr.partial']) {
    await t.rejects(
      intercept(
        (call, perform) => {
          if (call.label === label) throw Object.assign(new Error(label), { code: 'EIO' })
          return perform()
        },
        () => quantize(job.input, job.output, { ...OPTIONS, resume: true }),
      ),
      { code: 'EIO' },
    )
    t.same(filesIn(job.folder), ['in.apr', ...LEFT])
    sameBytes(t, readFileSync(`${job.output}.partial`), before, 'the partial file is as it was')
    t.equal(holdings().descriptors, held.descriptors, `${label}: no descriptor is held`)
  }
  const report = await resume(t, job, job.expected)
  t.equal(report.restartReason, undefined)
  t.ok(report.resumedTensors > 2)
})

void test('a process that is killed while it proves what it found leaves that for the next', async (t) => {
  const job = await interrupted(t)
  const count = notes(job.output).length
  const child = spawnJob(job.input, job.output, { ...OPTIONS, resume: true }, { stopAt: 'stat out.apr.partial' })
  // Stopped at the first look; let it go on until it reads.
  await until(() => isStopped(child.process.pid))
  child.process.kill('SIGKILL')
  await child.ended
  for (const killAt of [20, 24, 28, 32]) {
    await spawnJob(job.input, job.output, { ...OPTIONS, resume: true }, { killAt }).ended
  }
  const report = await resume(t, job, job.expected)
  t.equal(report.restartReason, undefined)
  t.ok(report.resumedTensors >= count, `${report.resumedTensors} tensors, ${count} before`)
})

void test('a run that is ended while it proves what it found ends at once, and leaves that for the next', async (t) => {
  const job = await interrupted(t)
  const { input, output } = job
  const left = contents(job.folder)
  const count = notes(output).length
  const held = holdings()
  for (const at of [1, 2, count]) {
    const controller = new AbortController()
    let reads = 0
    const resumed = intercept(
      (call, perform) => {
        if (call.name === 'read' && call.path.endsWith('.partial') && ++reads === at) controller.abort()
        return perform()
      },
      () => quantize(input, output, { ...OPTIONS, resume: true, signal: controller.signal }),
    )
    await t.rejects(resumed, { name: 'AbortError' })
    t.equal(reads, at, `nothing is read after read ${at}`)
    t.same(contents(job.folder), left, 'all is as it was')
    t.equal(holdings().descriptors, held.descriptors)
  }
  t.equal((await resume(t, job, job.expected)).resumedTensors, count)
})

void test('what a living process has left with `resume` may be taken up by another', async (t) => {
  const job = await interrupted(t)
  const child = await spawnJob(job.input, job.output, { ...OPTIONS, resume: true }).ended
  const report = JSON.parse(child.stdout) as QuantizeReport & { code?: string }
  t.equal(report.code, undefined, 'this process, which left it, is still there')
  t.ok(report.resumedTensors > 2)
  sameBytes(t, readFileSync(job.output), job.expected, 'the bytes are right')
})

void test('a source that cannot say whether it has changed is never gone on with', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  cpSync(SAMPLE, input)
  const bytes = readFileSync(input)
  const source = () => ({
    name: 'memory',
    size: bytes.length,
    read(target: Uint8Array, position: number) {
      target.set(bytes.subarray(position, position + target.length))
      return Promise.resolve()
    },
    close: () => Promise.resolve(),
  })
  const controller = new AbortController()
  const onProgress = () => controller.abort()
  await t.rejects(quantize(source(), output, { resume: true, signal: controller.signal, onProgress }))
  t.same(filesIn(folder), ['in.apr'])
})

function patchJournal(output: string, change: (text: string) => string): void {
  const path = `${output}.partial.journal`
  writeFileSync(path, change(readFileSync(path, 'utf8')))
}

function isStopped(pid: number | undefined): boolean {
  return / T /.test(readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8').replace(/^.*\)/, ''))
}
