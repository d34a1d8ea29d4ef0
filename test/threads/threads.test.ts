/** Worker threads of q4k. */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { largeModel, PLAIN_ENVIRONMENT } from '../helpers/faults.js'

void test('threads without work keep no process alive: a stage that is left ends with its program', (t) => {
  const input = join(t.testdir(), 'in.apr')
  writeFileSync(input, largeModel(9_000_000, 'F16', 4))
  const program = `
    import { aprReader, q4k } from 'apr-stream'
    let threads = 0
    process.on('worker', () => threads++)
    process.on('exit', () => console.log(threads > 0 ? 'threads were started' : 'no thread'))
    const stage = q4k({ threads: 2 })
    stage.on('data', () => {})
    let records = 0
    for await (const record of aprReader(${JSON.stringify(input)})) {
      stage.write(record)
      if (++records === 4) break
    }`
  const { status, stdout, stderr } = run(program)
  t.equal(status, 0, stderr)
  t.equal(stdout.trim(), 'threads were started')
  t.end()
})

void test('threads that are ended while they answer are waited for', (t) => {
  const program = `
    import { setTimeout } from 'node:timers/promises'
    import { ThreadPool } from './dist/threads/thread-pool.js'
    const task = () => {
      const data = new Uint8Array(4 * 256 * 64)
      const run = { dtype: 'F32', data, elements: 256 * 64, rowElements: 256 }
      return { run, to: { dtype: 'Q4_K', fit: 'minmax' }, mayOverwrite: true }
    }
    for (let i = 0; i < 60; i++) {
      const pool = new ThreadPool(2)
      const tasks = Array.from({ length: 30 }, () => pool.run(task(), { transferList: [] }))
      const settled = Promise.allSettled(tasks)
      await tasks[i % 8]
      if (i % 3 === 0) await setTimeout(1)
      await pool.destroy()
      await settled
    }
    console.log('all ended')`
  const { status, stdout, stderr } = run(program)
  t.equal(status, 0, stderr)
  t.equal(stdout.trim(), 'all ended')
  t.end()
})

/** Runs a program in a process of its own, in the folder of the package. */
function run(program: string): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
    env: PLAIN_ENVIRONMENT,
    timeout: 60_000,
  })
}
