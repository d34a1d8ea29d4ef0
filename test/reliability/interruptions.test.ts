/** Jobs that are ended from outside: by a signal, by Ctrl-C, or because the input changes under them. */
import {
  appendFileSync,
  cpSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { aprReader, aprWriter, q4k, quantize, type QuantizeOptions } from 'apr-stream'
import { filesIn, run, SAMPLE, sameBytes, turns } from '../helpers/files.js'
import { callsOf, contents, holdings, intercept, largeModel, spawnCli, unhandledIn, until } from '../helpers/faults.js'

const OLD = 'what stood here before'
const READS = { recordBytes: 70_000, highWaterMark: 200_000 } as const
const OPTIONS = { ...READS, fit: 'minmax', overwrite: true } as const

const FORMS: Record<string, (output: string, options: QuantizeOptions & { signal: AbortSignal }) => Promise<unknown>> =
  {
    stream: (output, options) => quantize(SAMPLE, output, { ...OPTIONS, mode: 'stream', ...options }),
    memory: (output, options) => quantize(SAMPLE, output, { ...OPTIONS, mode: 'memory', ...options }),
    pipeline: (output, { signal }) =>
      run([aprReader(SAMPLE, READS), q4k({ fit: 'minmax' }), aprWriter(output, { overwrite: true })], { signal }),
  }

void test('a job may be ended at any moment: it says so within a second, and what stood there stands', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  let count = 0
  for (const [form, perform] of Object.entries(FORMS)) {
    const never = new AbortController()
    const { length } = await callsOf(() => perform(output, { signal: never.signal }))
    const complete = contents(folder)
    writeFileSync(output, OLD)
    const before = contents(folder)
    const held = holdings()
    const problems: string[] = []
    const unhandled = await unhandledIn(async () => {
      for (const moment of ['before', 'after'] as const) {
        for (let n = 0; n < length; n++) {
          const controller = new AbortController()
          let label = ''
          let isInPlace = false
          let abortedAt = performance.now()
          const abort = (name: string): void => {
            label = name
            abortedAt = performance.now()
            controller.abort()
          }
          const error = await intercept(
            async (call, execute) => {
              isInPlace ||= label === '' && call.number <= n && call.label === 'rename out.apr.partial'
              if (call.number === n && moment === 'before') abort(call.label)
              // Once more in the middle: an operation that is under way cannot be taken back.
              const result = await execute()
              if (call.number === n && moment === 'after') abort(call.label)
              return result
            },
            () => perform(output, { signal: controller.signal }),
          ).then(
            () => undefined,
            (reason: unknown) => reason as Error,
          )
          const ms = performance.now() - abortedAt
          const problem = (what: string): unknown => problems.push(`${form}, ${moment} call ${n}, ${label}: ${what}`)
          if (label !== '') count++
          if (ms > 1000) problem(`it took ${Math.round(ms)} ms`)
          const found = JSON.stringify(contents(folder))
          if (error === undefined) {
            if (found !== JSON.stringify(complete)) problem('it succeeded, and the output is not there')
          } else {
            if (error.name !== 'AbortError') problem(String(error))
            // Node's pipeline says that it was ended as soon as it was: what it cannot know is that the file was in place.
            isInPlace &&= form === 'pipeline' && found === JSON.stringify(complete)
            if (found !== JSON.stringify(before) && !isInPlace) problem('it was ended, and the folder is another')
          }
          if (holdings().descriptors !== held.descriptors) {
            await turns()
            if (holdings().descriptors !== held.descriptors) problem('it holds descriptors')
          }
          for (const name of filesIn(folder)) rmSync(join(folder, name))
          writeFileSync(output, OLD)
        }
      }
    })
    t.same(problems, [], `${form}: ${2 * length} moments`)
    t.same(unhandled, [], 'no rejection is left unhandled')
  }
  t.comment(`${count} moments`)
})

void test('a signal that is aborted already ends a job before anything is opened', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const calls = await callsOf(() => quantize(SAMPLE, output, { signal: AbortSignal.abort() }).catch(() => undefined))
  t.same(calls, [])
  await t.rejects(quantize(SAMPLE, output, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.same(filesIn(t.testdirName), [])
})

void test('a job with worker threads may be ended after any record', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(4_400_000, 'F16', 2))
  const options = { threads: 2, recordBytes: 1 << 20 }
  for (const mode of ['stream', 'memory'] as const) {
    for (const at of [1, 3, 8, 12]) {
      const held = holdings()
      const controller = new AbortController()
      let records = 0
      let abortedAt = 0
      const onProgress = (): void => {
        if (++records !== at) return
        abortedAt = performance.now()
        controller.abort()
      }
      await t.rejects(quantize(input, output, { ...options, mode, signal: controller.signal, onProgress }), {
        name: 'AbortError',
      })
      t.ok(performance.now() - abortedAt < 1000, `${mode}, after record ${at}`)
      t.same(filesIn(folder), ['in.apr'])
      t.equal(holdings().descriptors, held.descriptors)
      t.ok(holdings().threads <= Math.max(held.threads, 12), `${holdings().threads} threads`)
    }
  }
})

void test('Ctrl-C ends the command with status 130, and SIGHUP, SIGQUIT and SIGTERM with theirs, and nothing is left but with --resume', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(20_000_000))
  const args = ['quantize', input, '-o', output, '--mode', 'stream', '--threads', '1', '--quiet']
  for (const [signal, status] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGQUIT', 131],
    ['SIGTERM', 143],
  ] as const) {
    const { process: child, ended } = spawnCli(args)
    await until(() => existsSync(`${output}.partial`))
    const started = performance.now()
    child.kill(signal)
    t.match(await ended, { status, signal: null, stdout: '', stderr: 'interrupted: nothing was written\n' })
    t.ok(performance.now() - started < 1000, `${signal}: within a second`)
    t.same(filesIn(folder), ['in.apr'])
  }
  const { process: child, ended } = spawnCli([...args, '--resume'])
  await until(() => existsSync(`${output}.partial`))
  child.kill('SIGINT')
  t.match(await ended, { status: 130, stderr: 'interrupted: --resume goes on from here\n' })
  t.same(filesIn(folder), ['in.apr', 'out.apr.partial', 'out.apr.partial.journal'])
  t.equal((await spawnCli([...args, '--resume']).ended).status, 0)
  t.same(filesIn(folder), ['in.apr', 'out.apr'])
})

void test('a second Ctrl-C ends the command at once', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  writeFileSync(input, largeModel(20_000_000))
  const { process: child, ended } = spawnCli(['quantize', input, '-o', output, '--mode', 'memory', '--threads', '1'])
  await until(() => existsSync(`${output}.partial`))
  child.kill('SIGINT')
  child.kill('SIGTERM')
  const { status } = await ended
  t.ok(status === 130 || status === 143, `status ${status}`)
  t.notOk(existsSync(output))
})

const CHANGES: Record<string, { change: (input: string) => void; expected: RegExp }> = {
  'is cut short': {
    change: (input) => truncateSync(input, 700_000),
    expected: /changed while it was read: expected .*1239684/,
  },
  grows: { change: (input) => appendFileSync(input, 'more'), expected: /expected 1239684 bytes, found 1239688/ },
  'is written to': {
    change(input) {
      const bytes = readFileSync(input)
      bytes.writeFloatLE(1, 500_000)
      writeFileSync(input, bytes)
    },
    expected: /changed while it was read|checksum/,
  },
  'is replaced by another': {
    change(input) {
      cpSync(input, `${input}.new`)
      renameSync(`${input}.new`, input)
    },
    expected: /expected the same file, found another one in its place/,
  },
  'is removed': { change: (input) => rmSync(input), expected: /ENOENT/ },
}

for (const [what, { change, expected }] of Object.entries(CHANGES)) {
  void test(`an input that ${what} while it is read is an error, and there is no output`, async (t) => {
    for (const mode of ['stream', 'memory'] as const) {
      for (const share of [0, 0.5, 1]) {
        const folder = t.testdir()
        const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
        cpSync(SAMPLE, input)
        const reads = 4 + Math.round(share * 15)
        let count = 0
        await t.rejects(
          intercept(
            (call, perform) => {
              if (call.label === 'read in.apr' && ++count === reads) change(input)
              return perform()
            },
            () => quantize(input, output, { ...OPTIONS, mode }),
          ),
          { message: expected },
          `${mode}, before read ${reads}`,
        )
        t.ok(count >= reads)
        t.notOk(existsSync(output))
        t.ok(
          filesIn(folder).every((name) => name === 'in.apr'),
          'nothing is left',
        )
      }
    }
  })
}

void test('an input that was only looked at by others is no other', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  cpSync(SAMPLE, input)
  const onProgress = (): unknown => readFileSync(input)
  await quantize(input, output, { ...OPTIONS, mode: 'stream', onProgress })
  await quantize(SAMPLE, join(folder, 'expected.apr'), { ...OPTIONS, mode: 'memory' })
  sameBytes(t, readFileSync(output), readFileSync(join(folder, 'expected.apr')), 'the bytes are right')
})
