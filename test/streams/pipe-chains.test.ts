/** A chain of `.pipe()` behaves as one of Node's own streams: seen in a process of its own, where an error ends it. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { arbitraryTensor, modelBytes } from '../helpers/files.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Makes a chain, ends it as the scenario says, and prints what every stage has emitted. */
const SCRIPT = `
import { Readable, Transform, Writable } from 'node:stream'
import { aprReader, aprWriter, filterTensors, q4k } from 'apr-stream'
const [kind, scenario, input, output] = process.argv.slice(1)
const pass = () => new Transform({ objectMode: true, highWaterMark: 1, transform: (value, _, done) => done(null, value) })
const source = () => new Readable({ objectMode: true, highWaterMark: 1, read() { setImmediate(() => this.push({})) } })
const sink = () => new Writable({ objectMode: true, highWaterMark: 1, write: (_, __, done) => setImmediate(done, new Error('no')) })
const stages = kind === 'node'
  ? [source(), pass(), pass(), sink()]
  : [aprReader(input), filterTensors(() => true), q4k({ threads: 1 }), aprWriter(output)]
if (scenario.startsWith('loop')) stages.pop()
const events = stages.map(() => [])
stages.forEach((stage, i) => {
  for (const name of ['end', 'finish', 'pipe', 'unpipe', 'close']) stage.on(name, () => events[i].push(name))
})
const handle = (i) => stages[i].on('error', () => events[i].push('error'))
process.on('exit', (code) => console.log(JSON.stringify({ code, events, states: stages.map((stage) =>
  [stage.destroyed, stage.closed, stage.errored !== null, stage.readableEnded, stage.writableFinished]) })))
process.on('unhandledRejection', () => events.push('unhandled rejection'))
stages.reduce((from, to) => from.pipe(to))
if (scenario === 'loop and break') for await (const record of stages.at(-1)) break
if (scenario === 'loop and throw') {
  try { for await (const record of stages.at(-1)) throw new Error('mine') } catch (error) { events.push(error.message) }
}
if (scenario === 'handled error of the writer') handle(3)
setTimeout(() => process.exit(), 500)
`

const SCENARIOS = {
  'loop and break': 0,
  'loop and throw': 0,
  'handled error of the writer': 0,
  'error of the writer that nobody handles': 1,
}

void test('a chain of stages ends as a chain of streams of Node does', (t) => {
  const folder = t.testdir()
  const input = join(folder, 'in.apr')
  const output = join(folder, 'out.apr')
  const tensors = Array.from({ length: 64 }, (_, i) => arbitraryTensor(`t${i}.weight`, 'F32', [64, 256], i))
  writeFileSync(input, modelBytes({ tensors, metadata: '{}' }))
  writeFileSync(output, 'stands in the way')
  for (const [scenario, expected] of Object.entries(SCENARIOS)) {
    const [ours, nodes] = ['ours', 'node'].map((kind) => {
      const args = ['--input-type=module', '-e', SCRIPT, kind, scenario, input, output]
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
      t.equal(status, expected, `${scenario}: ${kind} ${expected === 0 ? stderr : ''}`)
      return JSON.parse(stdout) as unknown
    })
    t.same(ours, nodes, scenario)
  }
  t.end()
})

void test('a stage that is destroyed inside a chain leaves its neighbours as one of Node does', (t) => {
  const folder = t.testdir()
  const input = join(folder, 'in.apr')
  // The output comes last: a chain that is cut in the middle never gets there.
  const tensors = Array.from({ length: 3000 }, (_, i) => arbitraryTensor(`t${i}.weight`, 'F32', [16, 256], i))
  writeFileSync(input, modelBytes({ tensors, metadata: '{}' }))
  for (const kind of ['ours', 'node']) {
    const args = ['--input-type=module', '-e', CUT, kind, input]
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
    t.equal(status, 0, `${kind}: ${stderr}`)
    t.same(JSON.parse(stdout), {
      reader: [],
      middle: ['pipe', 'unpipe', 'close'],
      last: ['pipe'],
      failing: ['pipe', 'unpipe', 'error', 'close'],
    })
  }
  t.end()
})

const CUT = `
import { Readable, Transform } from 'node:stream'
import { aprReader, filterTensors } from 'apr-stream'
const [kind, input] = process.argv.slice(1)
const pass = () => kind === 'ours' ? filterTensors(() => true)
  : new Transform({ objectMode: true, transform: (value, _, done) => done(null, value) })
const source = () => kind === 'ours' ? aprReader(input)
  : new Readable({ objectMode: true, read() { setImmediate(() => this.push({})) } })
const stages = { reader: source(), middle: pass(), last: pass() }
stages.reader.pipe(stages.middle).pipe(stages.last)
const failing = (stages.failing = pass())
const events = {}
for (const [key, stage] of Object.entries(stages)) {
  events[key] = key === 'failing' || key === 'reader' ? [] : ['pipe']
  for (const name of ['end', 'finish', 'pipe', 'unpipe', 'close']) stage.on(name, () => events[key].push(name))
}
failing.on('error', () => events.failing.push('error'))
source().pipe(failing)
setImmediate(() => {
  stages.middle.destroy()
  failing.destroy(new Error('mine'))
})
setTimeout(() => {
  console.log(JSON.stringify(events))
  process.exit()
}, 300)
`
