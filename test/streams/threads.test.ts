/** Worker threads of q4k. */
import { spawnSync } from 'node:child_process'
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
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
    env: PLAIN_ENVIRONMENT,
    timeout: 60_000,
  })
  t.equal(status, 0, stderr)
  t.equal(stdout.trim(), 'threads were started')
  t.end()
})
