/** Plays a cluster with processes of this machine: each unit is a process, and some are killed as machines go away. */
import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sha256 } from './sha256.js'

export const cli = join(import.meta.dirname, '..', '..', 'dist', 'cli.js')

/** Runs the command line. Without `mayDie`, another exit status than 0 is an error. */
export function run(args, { env = {}, killAfterMs, mayDie = false } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [cli, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(killAfterMs !== undefined && { timeout: killAfterMs, killSignal: 'SIGKILL' }),
    })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text))
    child.once('close', (code) => {
      if (code === 0 || mayDie) done({ code, stdout: stdout.trim() })
      else fail(new Error(`apr-stream ${args.join(' ')}: exit status ${code}`))
    })
  })
}

/**
 * Plans, makes all units by some processes at once, finishes, and compares with what one process makes.
 * @param variable in which the engine tells a process its unit
 */
export async function play(input, variable, { workers = 3, kills = 2 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'apr-stream-cluster-'))
  const [job, output, whole] = ['job.json', 'parts.apr', 'whole.apr'].map((name) => join(folder, name))
  // Blocks and units of megabytes in earnest; these are for a sample.
  const sizes = ['--block-size', '64KiB', '--unit-size', '64KiB']
  const units = Number((await run(['plan', input, '-o', output, '--save', job, ...sizes])).stdout)
  console.log(`${units} units`)

  const left = Array.from({ length: units }, (_, unit) => unit)
  let killsLeft = kills
  const worker = async () => {
    for (let unit = left.shift(); unit !== undefined; unit = left.shift()) {
      const killAfterMs = killsLeft-- > 0 ? 120 : undefined
      const { code, stdout } = await run(['part', job], {
        env: { [variable]: String(unit) },
        killAfterMs,
        mayDie: true,
      })
      console.log(code === 0 ? stdout : `unit ${unit}: killed, begun again`)
      if (code !== 0 && killAfterMs === undefined) throw new Error(`unit ${unit} failed`)
      if (code !== 0) left.push(unit)
    }
  }
  await Promise.all(Array.from({ length: workers }, worker))
  console.log((await run(['finish', job])).stdout)

  await run(['quantize', input, '-o', whole, '-q'])
  const isSame = (await sha256(output)) === (await sha256(whole))
  console.log(`the bytes of one process: ${isSame ? 'yes' : 'no'}`)
  if (!isSame) process.exitCode = 1
}
