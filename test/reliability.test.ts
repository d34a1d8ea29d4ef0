/** What a job leaves behind when the file system fails under it: every call, one at a time, in every way. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { aprReader, aprWriter, AprError, filterTensors, q4k, quantize, type TensorRecord } from 'apr-stream'
import { run, SAMPLE, turns } from './helpers/files.js'
import {
  callsOf,
  contents,
  holdings,
  intercept,
  largeModel,
  systemError,
  unhandledIn,
  type Call,
} from './helpers/faults.js'

const CODES = ['EIO', 'ENOSPC', 'EACCES', 'EMFILE'] as const
const OLD = 'what stood here before'

/** A few records, so that there are many reads and writes. */
const READS = { recordBytes: 70_000, highWaterMark: 200_000 } as const
const FIT = { fit: 'minmax' } as const
const SIZES = { ...READS, ...FIT } as const

interface Job {
  readonly title: string
  readonly overwrite: boolean
  readonly input?: string
  readonly perform: (input: string, output: string, overwrite: boolean) => Promise<unknown>
}

const FORMS: readonly Omit<Job, 'overwrite'>[] = [
  ...(['stream', 'memory'] as const).map((mode) => ({
    title: `quantize, mode ${mode}`,
    perform: (input: string, output: string, overwrite: boolean) =>
      quantize(input, output, { ...SIZES, mode, overwrite }),
  })),
  {
    title: 'pipeline of reader, q4k and writer',
    perform: (input, output, overwrite) => run([aprReader(input, READS), q4k(FIT), aprWriter(output, { overwrite })]),
  },
  {
    title: 'pipeline that drops tensors without a word',
    perform: (input, output, overwrite) =>
      run([aprReader(input, READS), dropBiases, q4k(FIT), filterTensors(() => true), aprWriter(output, { overwrite })]),
  },
]

const JOBS: readonly Job[] = FORMS.flatMap((form) => [false, true].map((overwrite) => ({ ...form, overwrite })))

/** A stage of a user's own: the writer learns only at the end that tensors are missing, and moves the others. */
async function* dropBiases(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) if (!record.name.includes('bias')) yield record
}

/**
 * Calls whose failure the job survives, each with the reason.
 * Before the output is in its place: what the job does not need.
 */
const NEEDLESS: readonly RegExp[] = [
  // Tells a reused process id from the same process: without it a claim of a dead process may hold longer.
  /^readFile stat$/,
  // A tensor that is not noted is written again by a run that resumes.
  /^write out\.apr\.partial\.journal$/,
]
/** What would have to be undone: the claim's own line, and the job's name in the journal, are needed. */
const NEEDED_JOURNAL_WRITES = 2

/** After the output is in its place: a file that is whole and there is no failure. */
const AFTERWARDS: readonly RegExp[] = [
  /^remove out\.apr\.partial(\.journal)?$/,
  /^(open|fsync|close) out$/,
  /^(fstat|stat|close) out\.apr\.partial\.journal$/,
]

/**
 * Where the removal of what was needed until then fails, or the look at it before, it stays: nothing can be done about
 * that. Partial file and journal stay together then, so that a later run knows whose they are, and removes them.
 */
const REMOVALS = /^(remove|fstat|stat) out\.apr\.partial(\.journal)?$/
const UNREMOVED = ['out.apr.partial', 'out.apr.partial.journal']

void test('whichever call to the file system fails, the job fails with it or does not need it, and leaves nothing', async (t) => {
  const counts = { calls: 0, failed: 0, survived: 0 }
  t.testdir()
  for (const job of JOBS)
    await failEveryCall(t, job, job.title.startsWith('quantize') ? CODES : ['EIO', 'ENOSPC'], counts)
  t.comment(
    `${counts.calls} calls made to fail: ${counts.failed} jobs failed, ${counts.survived} did not need the call`,
  )
})

void test('the same with worker threads', async (t) => {
  const input = join(t.testdir(), 'large.apr')
  writeFileSync(input, largeModel(4_400_000, 'F16', 3))
  const counts = { calls: 0, failed: 0, survived: 0 }
  const perform: Job['perform'] = (from, to, overwrite) =>
    quantize(from, to, { mode: 'stream', fit: 'search', threads: 1, overwrite, recordBytes: 2 << 20 })
  // The test runner makes the start of a thread cost a second: every sixth call.
  await failEveryCall(t, { title: 'with threads', input, overwrite: true, perform }, ['EIO'], counts, 6)
  t.comment(
    `${counts.calls} calls made to fail: ${counts.failed} jobs failed, ${counts.survived} did not need the call`,
  )
})

async function failEveryCall(
  t: Test,
  { title, input = SAMPLE, overwrite, perform }: Job,
  codes: readonly (typeof CODES)[number][],
  counts: { calls: number; failed: number; survived: number },
  step = 1,
): Promise<void> {
  const folder = join(t.testdirName, 'out')
  const output = join(folder, 'out.apr')
  const prepare = (): void => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    if (overwrite) writeFileSync(output, OLD)
  }
  prepare()
  const calls = await callsOf(() => perform(input, output, overwrite))
  const expected = contents(folder)
  prepare()
  const before = contents(folder)
  let held = holdings()

  const problems: string[] = []
  const unhandled = await unhandledIn(async () => {
    for (const code of codes) {
      for (let n = 0; ; n += step) {
        let failed: Call | undefined
        const place = { isInPlace: false }
        let journalWrites = 0
        const result = await settle(() =>
          intercept(
            async (call, execute) => {
              if (/^write .*journal$/.test(call.label)) journalWrites++
              if (call.number !== n) {
                // Nothing here depends on what is on the disk already, and waiting for it takes most of the time.
                const value = call.name === 'fsync' ? undefined : await execute()
                place.isInPlace ||= failed === undefined && /^(link|rename) out\.apr\.partial$/.test(call.label)
                return value
              }
              failed = call
              // A descriptor is gone, whatever its closing says.
              if (call.name === 'close') await execute()
              throw systemError(code, call)
            },
            () => perform(input, output, overwrite),
          ),
        )
        if (failed === undefined) {
          prepare()
          break
        }
        const { label } = failed
        const isNeedless =
          NEEDLESS.some((pattern) => pattern.test(label)) &&
          !(label.startsWith('write') && journalWrites <= NEEDED_JOURNAL_WRITES)
        const maySucceed = isNeedless || (place.isInPlace && AFTERWARDS.some((pattern) => pattern.test(label)))
        const problem = (what: string): unknown => problems.push(`${title}, ${code} at call ${n}, ${label}: ${what}`)

        counts.calls++
        if (result.error === undefined) {
          counts.survived++
          if (!maySucceed) problem('the job succeeded')
        } else {
          counts.failed++
          if (maySucceed) problem(`the job failed: ${result.error.message}`)
          checkError(result.error, code, failed, problem)
        }
        const left = contents(folder)
        if (place.isInPlace && REMOVALS.test(label)) {
          for (const name of UNREMOVED) Reflect.deleteProperty(left, name)
          await perform(input, output, true)
          const later = contents(folder)
          if (JSON.stringify(later) !== JSON.stringify(expected))
            problem(`a later run leaves ${describe(later, expected)}`)
        }
        const wanted = result.error === undefined ? expected : before
        if (JSON.stringify(left) !== JSON.stringify(wanted)) problem(`left ${describe(left, wanted)}`)
        if (JSON.stringify(holdings()) !== JSON.stringify(held)) {
          await turns()
          const now = holdings()
          if (now.descriptors !== held.descriptors) problem(`holds ${now.descriptors - held.descriptors} descriptors`)
          if (now.threads > held.threads) problem(`holds ${now.threads - held.threads} threads`)
        }
        held = holdings()
        prepare()
      }
    }
  })
  t.same(problems, [], `${title}, ${overwrite ? 'over an old file' : 'to a new file'}: ${calls.length} calls`)
  t.same(unhandled, [], 'no rejection is left unhandled')
}

void test('reads and writes that do less than they were asked go on where they ended, or fail', async (t) => {
  const folder = join(t.testdir(), 'out')
  const output = join(folder, 'out.apr')
  let count = 0
  for (const { title, perform } of FORMS) {
    mkdirSync(folder)
    await perform(SAMPLE, output, false)
    const expected = contents(folder)
    rmSync(output)
    const problems: string[] = []
    for (const less of [(size: number) => size - 1, (size: number) => size >> 1, () => 0]) {
      for (let n = 0; ; n++) {
        let short: { label: string; size: number; position: number } | undefined
        let turn = 0
        const result = await settle(() =>
          intercept(
            async ({ name, label, args }, execute) => {
              if (!['read', 'write'].includes(name) || turn++ !== n) return await execute()
              const [descriptor, bytes, offset, length, position] = args as [number, Uint8Array, number, number, number]
              const size = less(length)
              short = { label, size, position }
              if (size === 0) return { bytesRead: 0, bytesWritten: 0, buffer: bytes }
              return await execute([descriptor, bytes, offset, size, position])
            },
            () => perform(SAMPLE, output, false),
          ),
        )
        const left = contents(folder)
        rmSync(output, { force: true })
        if (short === undefined) break
        count++
        const { label, size } = short
        if (result.error === undefined) {
          if (size === 0 && !label.endsWith('journal')) problems.push(`${label}: nothing was done, and it succeeded`)
          if (JSON.stringify(left) !== JSON.stringify(expected)) problems.push(`${label}: ${describe(left, expected)}`)
        } else {
          const { code } = result.error as NodeJS.ErrnoException
          if (size > 0 || !['APR_TRUNCATED', 'ENOSPC'].includes(String(code)))
            problems.push(`${label}: ${String(result.error)}`)
          if (Object.keys(left).length > 0) problems.push(`${label}: left ${Object.keys(left).join(', ')}`)
        }
      }
    }
    t.same(problems, [], title)
    rmSync(folder, { recursive: true })
  }
  t.comment(`${count} reads and writes cut short`)
})

void test('after a job that failed the same job succeeds in the same process', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const input = join(folder, 'in.apr')
  cpSync(SAMPLE, input)
  const job = (): Promise<unknown> => quantize(input, output, { ...SIZES, mode: 'stream', overwrite: true })
  await job()
  const expected = readFileSync(output)
  const { length } = await callsOf(job)
  for (let n = 0; n < length; n++) {
    await settle(() =>
      intercept(async (call, execute) => {
        if (call.number !== n) return await execute()
        if (call.name === 'close') await execute()
        throw systemError('EIO', call)
      }, job),
    )
    await job()
    if (!readFileSync(output).equals(expected)) t.fail(`other bytes after a failure of call ${n}`)
  }
  t.same(Object.keys(contents(folder)), ['in.apr', 'out.apr'], `after each of ${length} failures`)
})

/** An error says what the system said, and where. */
function checkError(
  error: NodeJS.ErrnoException & { offset?: unknown },
  code: string,
  { name, path }: Call,
  problem: (what: string) => unknown,
): void {
  if (error instanceof AprError) return
  if (error.code !== code) problem(`the error is ${String(error)}`)
  if (error.path !== path) problem(`the error names the file ${error.path ?? 'not at all'}`)
  if (!error.message.includes(path)) problem(`the message does not name the file: ${error.message}`)
  if (['read', 'write'].includes(name) && typeof error.offset !== 'number') problem('the error names no offset')
}

async function settle(work: () => Promise<unknown>): Promise<{ error: Error | undefined }> {
  try {
    await work()
    return { error: undefined }
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(String(error)) }
  }
}

function describe(found: Record<string, string>, wanted: Record<string, string>): string {
  const names = [...new Set([...Object.keys(found), ...Object.keys(wanted)])].filter((n) => found[n] !== wanted[n])
  return names
    .map((n) => (found[n] === undefined ? `no ${n}` : wanted[n] === undefined ? n : `another ${n}`))
    .join(', ')
}
