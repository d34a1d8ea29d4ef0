/** Who holds an output, and who may take it over: threads, copies of the package, containers, machines. */
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { aprReader, aprWriter, quantize, type Progress, type QuantizeReport, type TensorRecord } from 'apr-stream'
import { filesIn, run, SAMPLE, sameBytes } from '../helpers/files.js'
import { intercept, largeModel, PLAIN_ENVIRONMENT, spawnJob, until } from '../helpers/faults.js'

const OPTIONS = { fit: 'minmax', mode: 'stream', recordBytes: 400_000 } as const
/** Tensors that are each written by themselves, so that some are noted before others. */
const LARGE = largeModel(3_000_000, 'F32', 6)
const NOTED = { fit: 'minmax', mode: 'stream', recordBytes: 1 << 20, highWaterMark: 1 } as const
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LEFT = ['out.apr.partial', 'out.apr.partial.journal']
const BUSY = { code: 'APR_BUSY', message: /found that another job of this process is \(file/ }
type Printed = Partial<QuantizeReport> & { code?: string; message?: string }

/** Does `meddle` while this process writes an output, and then lets it go on to its end. */
async function whileWriting(output: string, meddle: () => Promise<void>): Promise<void> {
  let count = 0
  const wait = async function* (records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
    for await (const record of records) {
      if (++count === 2) {
        await until(() => existsSync(`${output}.partial`))
        await meddle()
      }
      yield record
    }
  }
  await run([aprReader(SAMPLE), wait, aprWriter(output)])
}

void test('a worker thread is refused at once while another thread writes the output', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const program = `
    const { parentPort } = require('node:worker_threads')
    const job = import(${JSON.stringify(pathToFileURL(join(ROOT, 'dist/index.js')).href)})
      .then(({ quantize }) => quantize(...${JSON.stringify([SAMPLE, output, OPTIONS])}))
    job.then(() => parentPort.postMessage({}), ({ code, message }) => parentPort.postMessage({ code, message }))`
  await whileWriting(output, async () => {
    const worker = new Worker(program, { eval: true, env: PLAIN_ENVIRONMENT, execArgv: [] })
    const answer = await new Promise((done) => worker.once('message', done))
    t.match(answer, BUSY)
    await worker.terminate()
    t.same(filesIn(folder), LEFT, 'and touches nothing')
  })
  sameBytes(t, readFileSync(output), readFileSync(SAMPLE), 'the first one is not disturbed')
})

void test('of two copies of the package in one process the second is refused at once', async (t) => {
  const folder = t.testdir({ package: {}, out: {} })
  const output = join(folder, 'out', 'out.apr')
  cpSync(join(ROOT, 'dist'), join(folder, 'package/dist'), { recursive: true })
  cpSync(join(ROOT, 'package.json'), join(folder, 'package/package.json'))
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'package/node_modules'))
  const copy = (await import(pathToFileURL(join(folder, 'package/dist/index.js')).href)) as {
    quantize: typeof quantize
  }
  t.not(copy.quantize, quantize)
  await whileWriting(output, async () => {
    await t.rejects(copy.quantize(SAMPLE, output, OPTIONS), BUSY)
    t.same(filesIn(join(folder, 'out')), LEFT, 'and touches nothing')
  })
  sameBytes(t, readFileSync(output), readFileSync(SAMPLE), 'the first one is not disturbed')
  await copy.quantize(SAMPLE, output, { ...OPTIONS, overwrite: true })
  t.same(filesIn(join(folder, 'out')), ['out.apr'])
})

/** Starts a program in a namespace of processes of its own, as a container does; undefined where that is not allowed. */
function inNamespace(program: string) {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined
  const node = [process.execPath, '--input-type=module', '-e', program]
  return spawn('unshare', ['-p', '-f', '--kill-child', '--mount-proc', ...node], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: PLAIN_ENVIRONMENT,
  })
}

void test('another namespace of processes is another machine: its living lock holds, its dead one ages', async (t) => {
  const input = join(t.testdir(), 'in.apr')
  writeFileSync(input, LARGE)
  const folder = join(t.testdirName, 'out')
  mkdirSync(folder)
  const output = join(folder, 'out.apr')
  const options = { ...NOTED, resume: true }
  const job = (doesStay: boolean): string => `
    import { quantize } from 'apr-stream'
    const onProgress = ({ bytes, totalBytes }) => {
      // Slow, but not dead: what was written before is noted.
      if (${doesStay} && bytes > totalBytes / 2) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000)
    }
    try {
      await quantize(...${JSON.stringify([input, output])}, { ...${JSON.stringify(options)}, onProgress })
    } catch ({ code, message }) {
      console.log(JSON.stringify({ code, message }))
    }`
  const holder = inNamespace(job(true))
  if (holder === undefined) {
    t.comment('skipped: only root can make a namespace')
    return
  }
  t.teardown(() => holder.kill('SIGKILL'))
  const notes = (): number =>
    existsSync(`${output}.partial.journal`) ? readFileSync(`${output}.partial.journal`, 'utf8').split('\n').length : 0
  await until(() => notes() > 4)
  const refusal = { code: 'APR_BUSY', message: /process 1 of \S+ is: its lock was written \d+ s ago/ }
  const second = inNamespace(job(false))
  const said = await new Promise<string>((done) => second?.stdout.on('data', (data: Buffer) => done(data.toString())))
  t.match(JSON.parse(said), refusal, 'a second container')
  await t.rejects(quantize(input, output, options), refusal, 'the machine itself')
  t.same(filesIn(folder), LEFT)

  holder.kill('SIGKILL')
  await new Promise((done) => holder.once('close', done))
  await t.rejects(quantize(input, output, options), refusal, 'of its death nothing can be known')
  age(output)
  const report = await quantize(input, output, options)
  t.ok(report.resumedTensors > 0, `${report.resumedTensors} tensors were there`)
  t.same(filesIn(folder), ['out.apr'])
})

/** As if nobody had written the lock for two minutes. */
function age(output: string): void {
  const past = Date.now() / 1000 - 120
  utimesSync(`${output}.partial.journal`, past, past)
}

const ELSEWHERE: Record<string, object> = {
  'of another machine': { pid: 1, started: '1', host: 'elsewhere', processes: 'elsewhere pid:[1]', descriptor: 21 },
  'of an older version on another machine': { pid: 1, started: '1', host: 'elsewhere' },
}

for (const [what, owner] of Object.entries(ELSEWHERE)) {
  void test(`a lock ${what} counts as abandoned when it is old, and what it had is gone on with`, async (t) => {
    const input = join(t.testdir({ out: {} }), 'in.apr')
    writeFileSync(input, LARGE)
    const folder = join(t.testdirName, 'out')
    const output = join(folder, 'out.apr')
    await quantize(input, output, NOTED)
    const expected = readFileSync(output)
    rmSync(output)
    for (const resume of [true, false]) {
      const controller = new AbortController()
      const onProgress = ({ bytes, totalBytes }: Progress): void => {
        if (bytes > totalBytes / 2) controller.abort()
      }
      await t.rejects(quantize(input, output, { ...NOTED, resume: true, onProgress, signal: controller.signal }))
      const journal = readFileSync(`${output}.partial.journal`, 'utf8').split('\n')
      writeFileSync(`${output}.partial.journal`, [JSON.stringify(owner), ...journal.slice(1)].join('\n'))
      await t.rejects(quantize(input, output, { ...NOTED, resume }), { code: 'APR_BUSY' }, 'while it is new')
      t.same(filesIn(folder), LEFT)
      age(output)
      const report = await quantize(input, output, { ...NOTED, resume })
      t.equal(report.resumedTensors > 0, resume, `${report.resumedTensors} tensors were there`)
      t.equal(report.restartReason, undefined)
      sameBytes(t, readFileSync(output), expected, 'the bytes are right')
      t.same(filesIn(folder), ['out.apr'])
      rmSync(output)
    }
  })
}

void test('a holder renews its lock while it writes, and no longer', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const journal = `${output}.partial.journal`
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  let line = ''
  await whileWriting(output, async () => {
    line = readFileSync(journal, 'utf8')
    age(output)
    const old = statSync(journal).mtimeMs
    const isRenewed = (): boolean => statSync(journal).mtimeMs > old
    // It comes every ten seconds.
    await until(isRenewed).catch(() => until(isRenewed))
    t.equal(readFileSync(journal, 'utf8'), line, 'nothing else in it changes')
  })
  t.equal(timers(), before, 'no timer is left')
})

for (const resume of [false, true]) {
  void test(`a process that slept until it was taken for dead harms nothing, ${resume ? 'with' : 'without'} resume`, async (t) => {
    const folder = t.testdir()
    const output = join(folder, 'out.apr')
    const journal = `${output}.partial.journal`
    await quantize(SAMPLE, output, OPTIONS)
    const expected = readFileSync(output)
    rmSync(output)
    for (const at of ['write', 'fsync']) {
      let taker: ReturnType<typeof spawnJob> | undefined
      const beTakenOver = async (): Promise<void> => {
        // What is under way ends.
        await new Promise((done) => setTimeout(done, 100))
        // To another process it is one of elsewhere, of which nothing was heard for long.
        const text = readFileSync(journal, 'utf8')
        writeFileSync(journal, text.replace(/"processes":"./, '"processes":"x'))
        age(output)
        taker = spawnJob(SAMPLE, output, { ...OPTIONS, resume }, { stopAt: 'link out.apr.partial' })
        const { pid } = taker.process
        await until(() => / T /.test(readFileSync(`/proc/${pid ?? 0}/stat`, 'utf8').replace(/^.*\)/, '')))
      }
      let sleep: Promise<void> | undefined
      await t.rejects(
        intercept(
          async ({ label }, perform) => {
            if (label === `${at} out.apr.partial`) sleep ??= beTakenOver()
            await sleep
            return await perform()
          },
          () => quantize(SAMPLE, output, { ...OPTIONS, resume }),
        ),
        { code: 'APR_BUSY', message: /another process has taken it over/ },
        `it wakes before ${at}`,
      )
      t.same(filesIn(folder), LEFT, 'what the other one has stays')
      taker?.process.kill('SIGCONT')
      t.notOk((JSON.parse((await taker?.ended)?.stdout ?? '') as Printed).code)
      sameBytes(t, readFileSync(output), expected, 'and it writes the right bytes')
      t.same(filesIn(folder), ['out.apr'])
      rmSync(output)
    }
  })
}
