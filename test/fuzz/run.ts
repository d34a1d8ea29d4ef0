/**
 * Runs the fuzzer: `npm run fuzz -- --cases 100000 --seed 1`. A finding is printed with its number, and seen again with
 * `--seed N --first NUMBER --cases 1`; its file is kept beside the others that this run found. With `--format gguf` files of
 * one format only are damaged.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { fuzz } from './fuzz.js'

/** A case that blocks the thread for so long is a hang. */
const HANG_SECONDS = 60
const BATCH = 1000

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    format: { type: 'string' },
  },
})
const [cases, seed, first] = [Number(values.cases), Number(values.seed), Number(values.first)]

const folder = mkdtempSync(join(tmpdir(), 'apr-fuzz-'))
const outputs = join(folder, 'outputs')
mkdirSync(outputs)
const progress = new Int32Array(new SharedArrayBuffer(4))
const watchdog = new Worker(
  `const { workerData: progress } = require('node:worker_threads')
   let last = -1
   setInterval(() => {
     if (progress[0] === last) {
       process._rawDebug('case ' + last + ' hangs')
       process.kill(process.pid, 'SIGKILL')
     }
     last = progress[0]
   }, ${HANG_SECONDS * 1000})`,
  { eval: true, workerData: progress },
)

console.log(`seed ${seed}, cases ${first} to ${first + cases - 1}`)
const counts: Record<string, number> = {}
let found = 0
for (let start = first; start < first + cases; start += BATCH) {
  const report = await fuzz({
    seed,
    first: start,
    extension: values.format === undefined ? undefined : `.${values.format}`,
    cases: Math.min(BATCH, first + cases - start),
    folder: outputs,
    onCase: (index) => (progress[0] = index),
  })
  for (const [outcome, count] of Object.entries(report.counts)) counts[outcome] = (counts[outcome] ?? 0) + count
  for (const { index, what, file, extension } of report.findings) {
    found++
    const path = join(folder, `case-${index}${extension}`)
    writeFileSync(path, file)
    console.log(`case ${index}: ${what}\n  ${path}`)
  }
  if ((start - first) % (10 * BATCH) === 0) console.log(`${start - first + BATCH} cases, ${found} findings`)
}
await watchdog.terminate()
console.log(counts)
console.log(`${cases} cases, ${found} findings`)
if (found === 0) rmSync(folder, { recursive: true })
else process.exitCode = 1
