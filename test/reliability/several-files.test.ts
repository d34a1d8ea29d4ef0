/** Outputs of several files: whatever fails, and whenever the process is killed, all of them are there or none. */
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test, type Test } from 'tap'
import type { TensorRecord } from 'apr-stream'
import { partialBytes } from '../../dist/files/output/output-files.js'
import { findPlace } from '../../dist/files/output/output-place.js'
import { FORMATS } from '../../dist/formats/formats.js'
import { formatReader } from '../../dist/streams/reader.js'
import { formatWriter } from '../../dist/streams/writer.js'
import { filesIn, run } from '../helpers/files.js'
import {
  callsOf,
  contents,
  describeChanges,
  holdings,
  intercept,
  PLAIN_ENVIRONMENT,
  settle,
  systemError,
} from '../helpers/faults.js'

const INPUT = fileURLToPath(new URL('../fixtures/hf/small/gguf/tiny-llama-f32.convert.gguf', import.meta.url))
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NEW_BYTES = 60_000

/** Writes the model in parts. */
async function split(output: string, maxFileBytes: number, overwrite: boolean, isShortened = false): Promise<void> {
  const stages = isShortened ? [dropNorms] : []
  const reader = formatReader(FORMATS.gguf, INPUT, { recordBytes: 10_000 })
  await run([reader, ...stages, formatWriter(FORMATS.gguf, output, { maxFileBytes, overwrite })])
}

async function* dropNorms(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) if (!record.name.includes('norm')) yield record
}

/** A folder with an old model of as many parts as the new one, of which some differ; or none. */
async function prepare(folder: string, overwrite: boolean): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  if (overwrite) await split(join(folder, 'out.gguf'), NEW_BYTES, false)
  for (const name of filesIn(folder)) writeFileSync(join(folder, name), `old ${name}`)
}

for (const overwrite of [false, true]) {
  for (const isShortened of [false, true]) {
    const title = `${overwrite ? 'over an old one' : 'anew'}${isShortened ? ', with less than announced' : ''}`
    void test(`whichever call fails while several files are written, ${title}, all is as it was`, async (t) => {
      const folder = join(t.testdir(), 'out')
      const job = () => split(join(folder, 'out.gguf'), NEW_BYTES, overwrite, isShortened)
      await failEveryCall(t, folder, overwrite, job)
    })
  }
}

async function failEveryCall(t: Test, folder: string, overwrite: boolean, job: () => Promise<void>): Promise<void> {
  await prepare(folder, overwrite)
  const before = contents(folder)
  const calls = await callsOf(job)
  const expected = contents(folder)
  const held = holdings()
  const problems: string[] = []
  let failed = 0
  for (let n = 0; n < calls.length; n++) {
    await prepare(folder, overwrite)
    const found = { label: '', isPlaced: false }
    const { error } = await settle(() =>
      intercept(async (call, perform) => {
        if (call.number !== n) {
          const value = call.name === 'fsync' ? undefined : await perform()
          found.isPlaced ||= found.label === '' && call.name === 'link' && call.path.includes('out-00001-of')
          return value
        }
        found.label = call.label
        if (call.name === 'close') await perform()
        throw systemError('EIO', call)
      }, job),
    )
    const { label, isPlaced } = found
    if (error) failed++
    const left = contents(folder)
    const problem = (what: string): unknown => problems.push(`call ${n}, ${label}: ${what}`)
    if (error && isPlaced) problem('the job failed after all was in its place')
    if (isPlaced || /^(remove|fstat|stat) .*(partial|journal)$/.test(label)) {
      // What could not be removed, the next run removes.
      if (!error) await split(join(folder, 'out.gguf'), NEW_BYTES, true).catch(problem)
      if (filesIn(folder).some((name) => name.includes('partial')) && isPlaced) problem('something is left')
    } else {
      const wanted = error ? before : expected
      if (JSON.stringify(left) !== JSON.stringify(wanted)) problem(`left ${describeChanges(left, wanted)}`)
    }
    if (holdings().descriptors !== held.descriptors) problem('holds descriptors')
  }
  t.same(problems, [], `${calls.length} calls, ${failed} failed`)
}

void test('partial files of an output that was cut another way count as room', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'x.gguf')
  const part = Buffer.alloc(64 * 1024, 1)
  for (const n of [1, 2, 3]) writeFileSync(join(folder, `x-0000${n}-of-00003.gguf.partial`), part)
  writeFileSync(join(folder, 'other-00001-of-00003.gguf.partial'), part)
  const notes = { files: [1, 2, 3].map((n) => `x-0000${n}-of-00003.gguf`) }
  writeFileSync(
    `${output}.partial.journal`,
    `${JSON.stringify({ pid: 1 })}
${JSON.stringify(notes)}
`,
  )
  const place = await findPlace(output)
  const files = [{ name: 'x-00001-of-00002.gguf' }, { name: 'x-00002-of-00002.gguf' }]
  t.equal(await partialBytes(place, files), 3 * part.length)
  t.equal(await partialBytes(place, [{ name: 'x-00001-of-00003.gguf' }]), 3 * part.length, 'each once')
})

void test('a process may be killed at any call: what stood there comes back, or the new is there whole', async (t) => {
  const folder = join(t.testdir(), 'out')
  const output = join(folder, 'out.gguf')
  for (const overwrite of [true, false]) {
    await prepare(folder, overwrite)
    const before = contents(folder)
    const calls = await callsOf(() => split(output, NEW_BYTES, overwrite))
    const expected = contents(folder)
    const first = 'out-00001-of-00005.gguf'
    t.ok(expected[first], 'the first part')
    // Every call while the files take their places, and some before.
    const placing = calls.findIndex(({ name }) => name === 'rename' || name === 'link')
    const problems: string[] = []
    for (let n = 10; n < calls.length; n += n < placing - 12 ? 11 : 1) {
      await prepare(folder, overwrite)
      await killedAt(n, output, overwrite)
      const left = contents(folder)
      const whole = (names: Record<string, string>) => Object.keys(names).every((name) => left[name] === names[name])
      // Never a mixture that has the part by which the others are found.
      const isOld = overwrite && whole(before)
      if (left[first] !== undefined && !isOld && !whole(expected)) problems.push(`call ${n}: a mixture`)
      // Another job of the same output, which fails early, has what stood there again.
      const broken = await settle(() =>
        intercept(
          (call, perform) => {
            if (call.name === 'write' && call.path.endsWith('-00002-of-00005.gguf.partial'))
              throw systemError('EIO', call)
            return perform()
          },
          () => split(output, NEW_BYTES, overwrite),
        ),
      )
      const wanted = whole(expected) || left[first] === expected[first] ? expected : before
      const then = contents(folder)
      for (const name of Object.keys(wanted))
        if (then[name] !== wanted[name]) problems.push(`call ${n}: ${name} is lost`)
      if (!broken.error) problems.push(`call ${n}: the broken job succeeded`)
      try {
        await split(output, NEW_BYTES, overwrite || then[first] !== undefined)
        const next = contents(folder)
        if (JSON.stringify(next) !== JSON.stringify(expected))
          problems.push(`call ${n}: the next run left ${describeChanges(next, expected)}`)
      } catch (error) {
        problems.push(`call ${n}: the next run failed: ${String(error)}`)
      }
    }
    t.same(problems, [], `${calls.length} calls`)
  }
})

/** Writes the model in parts in a process of its own, which ends by SIGKILL instead of its call of this number. */
async function killedAt(killAt: number, output: string, overwrite: boolean): Promise<void> {
  const program = `
    import fs from 'fs-extra'
    import { pipeline } from 'node:stream/promises'
    import { FORMATS } from ${JSON.stringify(new URL('../../dist/formats/formats.js', import.meta.url))}
    import { formatReader } from ${JSON.stringify(new URL('../../dist/streams/reader.js', import.meta.url))}
    import { formatWriter } from ${JSON.stringify(new URL('../../dist/streams/writer.js', import.meta.url))}
    let count = 0
    for (const name of ['open', 'close', 'read', 'write', 'fsync', 'ftruncate', 'fstat', 'fchmod', 'fchown', 'stat',
      'realpath', 'readFile', 'readdir', 'rename', 'link', 'remove']) {
      const original = fs[name]
      fs[name] = (...args) => {
        if (count++ === ${killAt}) process.kill(process.pid, 'SIGKILL')
        return original.apply(fs, args)
      }
    }
    const [input, output] = ${JSON.stringify([INPUT, output])}
    await pipeline(formatReader(FORMATS.gguf, input, { recordBytes: 10_000 }),
      formatWriter(FORMATS.gguf, output, ${JSON.stringify({ maxFileBytes: NEW_BYTES, overwrite })}))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: ROOT,
    stdio: 'ignore',
    env: PLAIN_ENVIRONMENT,
  })
  await new Promise((done) => child.on('close', done))
}
