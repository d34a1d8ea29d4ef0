/** What a job leaves behind when the file system fails under it: every call, one at a time, in every way. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import { AprError, quantize } from 'apr-stream'
import { SAMPLE, turns } from '../helpers/files.js'
import {
  callsOf,
  contents,
  describeChanges,
  FORMS,
  holdings,
  intercept,
  largeModel,
  settle,
  systemError,
  unhandledIn,
  type Call,
  type Job,
} from '../helpers/faults.js'

const CODES = ['EIO', 'ENOSPC', 'EACCES', 'EMFILE'] as const
const OLD = 'what stood here before'

const JOBS: readonly Job[] = FORMS.flatMap((form) => [false, true].map((overwrite) => ({ ...form, overwrite })))

/**
 * Calls whose failure the job survives, each with the reason.
 * Before the output is in its place: what the job does not need.
 */
const NEEDLESS: readonly RegExp[] = [
  // Tell a reused process id from the same process: without them a lock of a dead process may hold longer.
  /^readFile (stat|boot_id)$/,
  // A tensor that is not noted is written again by a run that resumes.
  /^write out\.apr\.partial\.journal$/,
]
/** What would have to be undone: the lock's own line, and the job's name in the journal, are needed. */
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
            problem(`a later run leaves ${describeChanges(later, expected)}`)
        }
        const wanted = result.error === undefined ? expected : before
        if (JSON.stringify(left) !== JSON.stringify(wanted)) problem(`left ${describeChanges(left, wanted)}`)
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
