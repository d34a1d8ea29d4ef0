/** Kills processes that quantize a model, each at a moment of its own, and looks at what is there afterwards. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { QuantizeReport } from 'apr-stream'
import { filesIn } from '../helpers/files.js'
import { randomBits } from '../helpers/random.js'
import { largeModel, spawnCli } from '../helpers/faults.js'

const OLD = 'what stood here before'

export interface KillCounts {
  /** Processes that were killed, and those that were done before. */
  kills: number
  done: number
  /** What stood at the output afterwards. */
  old: number
  complete: number
  /** How many left a partial file. */
  partial: number
  /** Following runs that went on with tensors of a killed one, and those that started over. */
  resumed: number
  restarted: number
}

/**
 * @param folder an empty one
 * @returns counts, and what was wrong, in sentences
 */
export async function killAtRandom(
  folder: string,
  count: number,
  seed: number,
): Promise<{ counts: KillCounts; problems: string[] }> {
  const random = randomBits(seed)
  const input = join(folder, 'in.apr')
  const work = join(folder, 'work')
  const output = join(work, 'out.apr')
  writeFileSync(input, largeModel(10_000_000))
  mkdirSync(work)
  const args = ['quantize', input, '-o', output, '--force', '--mode', 'stream', '--threads', '1', '--quiet']

  // How long a run takes here, from its first file to its end: the kills fall between.
  await spawnCli(args).ended
  const expected = readFileSync(output)
  const counts: KillCounts = { kills: 0, done: 0, old: 0, complete: 0, partial: 0, resumed: 0, restarted: 0 }
  const problems: string[] = []
  const whole = spawnCli(args)
  await appears(`${output}.partial`, whole.ended)
  const started = performance.now()
  await whole.ended
  const workMs = performance.now() - started

  for (let n = 0; n < count; n++) {
    writeFileSync(output, OLD)
    // What was left is gone on with, or removed, by a process that may be killed as well.
    for (const left of [1, 2]) {
      const withResume = random() % 2 === 0
      const child = spawnCli(withResume ? [...args, '--resume'] : args)
      // Most while it writes, some while it starts.
      const delay = (random() / 2 ** 32) * workMs
      if (random() % 8 > 0) await appears(`${output}.partial`, child.ended)
      const timer = setTimeout(() => child.process.kill('SIGKILL'), delay)
      const { signal, status, stderr } = await child.ended
      clearTimeout(timer)
      if (signal === 'SIGKILL') counts.kills++
      else counts.done++
      if (signal === null && status !== 0) problems.push(`run ${n}.${left} ended with ${String(status)}: ${stderr}`)
      const found = readFileSync(output)
      if (found.equals(expected)) counts.complete++
      else if (found.toString() === OLD) counts.old++
      else problems.push(`run ${n}.${left}: neither the old file nor the new one`)
      if (existsSync(`${output}.partial`)) counts.partial++
      if (signal !== 'SIGKILL' || random() % 2 === 0) break
      if (counts.kills >= count) break
    }
    try {
      const next = await spawnCli([...args.slice(0, -1), '--json', ...(n % 2 === 0 ? ['--resume'] : [])]).ended
      if (next.status !== 0) throw new Error(next.stderr)
      const report = JSON.parse(next.stdout) as QuantizeReport
      if (report.resumedTensors > 0) counts.resumed++
      if (report.restartReason !== undefined) counts.restarted++
      if (!readFileSync(output).equals(expected)) problems.push(`run ${n}: the next one wrote other bytes`)
      const files = filesIn(work)
      if (files.join() !== 'out.apr') problems.push(`run ${n}: the next one left ${files.join(', ')}`)
    } catch (error) {
      problems.push(`run ${n}: the next one failed: ${String(error)}`)
      for (const name of filesIn(work)) rmSync(join(work, name))
    }
    if (counts.kills >= count) break
  }
  return { counts, problems }
}

async function appears(path: string, ended: Promise<unknown>): Promise<void> {
  const child = { isOver: false }
  void ended.then(() => (child.isOver = true))
  while (!existsSync(path) && !child.isOver) await new Promise((done) => setTimeout(done, 1))
}
