/**
 * `npm run parts [-- --megabytes N] [-- --rounds N] [-- --unit BYTES]`: what making a model in parts costs beside one stream: the same model,
 * quantized by `quantize` in mode stream, and by one process that makes all units of a plan and finishes it, in turn. Then the
 * resident memory of that process after each of at least 20 units. Linux. CPU seconds are compared, which other work on the
 * machine changes little; seconds are told as well.
 */
import { createHash } from 'node:crypto'
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { writeModel } from './lib/model.js'
import { measureProcess } from './lib/process.js'

const { values } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1' },
    unit: { type: 'string', default: '16777216' },
    folder: { type: 'string', default: tmpdir() },
  },
})
const MIB = 1024 * 1024
const folder = mkdtempSync(join(values.folder, 'apr-stream-bench-'))
const library = join(import.meta.dirname, '../dist')

/** Makes all units, and tells after each how much memory the process has. */
const PARTS = `
import { readFileSync } from 'node:fs'
import { finish, part, plan } from ${JSON.stringify(join(library, 'jobs/parts/index.js'))}
const [input, output, threads, unitBytes] = process.argv.slice(2)
const made = await plan(input, output, { unitBytes: Number(unitBytes) })
const resident = () => Number(/^VmRSS:\\s*(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
const after = []
for (const unit of made.units.keys()) {
  await part(made, unit, { threads: Number(threads) })
  after.push(resident())
}
await finish(made)
console.log(JSON.stringify({ units: made.units.length, blockBytes: made.blockBytes, after }))
`

async function sha256(path) {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

try {
  const input = join(folder, 'in.apr')
  writeModel(input, { bytes: Number(values.megabytes) * MIB, tensors: 16 })
  const program = join(folder, 'parts.mjs')
  writeFileSync(program, PARTS)
  const [streamed, parts] = ['streamed.apr', 'parts.apr'].map((name) => join(folder, name))
  const cli = join(library, 'cli.js')
  const flags = ['--mode', 'stream', '--threads', values.threads, '-q']
  const figures = { stream: [], parts: [] }
  let told
  for (let round = 0; round < Number(values.rounds); round++) {
    const one = await measureProcess(process.execPath, [cli, 'quantize', input, '-o', streamed, ...flags])
    const two = await measureProcess(process.execPath, [program, input, parts, values.threads, values.unit])
    told = JSON.parse(two.stdout)
    figures.stream.push(one)
    figures.parts.push(two)
    if ((await sha256(streamed)) !== (await sha256(parts))) throw new Error('the two are not the same bytes')
    if (round + 1 < Number(values.rounds)) for (const path of [streamed, parts]) rmSync(path)
  }
  const size = readFileSync(input).length
  const median = (all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)]
  console.log(`${(size / 1e9).toFixed(2)} GB of F16, search, ${values.threads} thread(s), the same bytes`)
  for (const [name, runs] of Object.entries(figures)) {
    const cpu = median(runs.map(({ cpuSeconds }) => cpuSeconds))
    const system = median(runs.map(({ systemSeconds }) => systemSeconds))
    const wall = median(runs.map(({ wallSeconds }) => wallSeconds))
    const peak = Math.max(...runs.map(({ peakResidentBytes }) => peakResidentBytes ?? 0))
    console.log(
      `${name.padEnd(8)} ${(cpu / (size / 1e9)).toFixed(2)} CPU s/GB (${(system / (size / 1e9)).toFixed(2)} of it in the kernel), ${wall.toFixed(1)} s, peak ${(peak / 1e6).toFixed(0)} MB`,
    )
  }
  const [stream, inParts] = [figures.stream, figures.parts].map((runs) =>
    median(runs.map(({ cpuSeconds }) => cpuSeconds)),
  )
  console.log(`CPU of parts / stream: ${(inParts / stream).toFixed(3)}`)
  const resident = told.after.map((bytes) => Math.round(bytes / 1e6))
  console.log(`resident after each of ${told.units} units of ${told.blockBytes / MIB} MiB, MB: ${resident.join(' ')}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
