/** Runs every example with its defaults, and fails when one fails. Usage: node examples/run-all.js */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const TIMEOUT_MS = 120_000
const notExamples = ['run-all.js', 'check-docs.js']

const folder = mkdtempSync(join(tmpdir(), 'apr-stream-examples-'))
// The examples write to the system's temporary folder: here one that is removed at the end.
const env = { ...process.env, TMPDIR: folder, TEMP: folder, TMP: folder }
let failed = 0
try {
  for (const name of [...readdirSync(import.meta.dirname).sort(), 'kubernetes/play.js', 'slurm/play.js']) {
    if (!name.endsWith('.js') || notExamples.includes(name)) continue
    const { status, error, stdout, stderr } = spawnSync(process.execPath, [join(import.meta.dirname, name)], {
      env,
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
    })
    const isGood = status === 0 && stdout !== ''
    if (!isGood) failed++
    console.log(`${isGood ? 'ok    ' : 'FAILED'} ${name}`)
    if (!isGood) console.log(`${stdout}${stderr}${error?.message ?? ''}`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exitCode = failed === 0 ? 0 : 1
