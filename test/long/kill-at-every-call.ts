/** Kills processes at one call to the file system after the other: a moment between two steps, and no other. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quantize } from 'apr-stream'
import { filesIn, SAMPLE } from '../helpers/files.js'
import { callsOf, spawnJob } from '../helpers/faults.js'

const OLD = 'what stood here before'

export const KILL_CASES = [
  { overwrite: true, resume: true },
  { overwrite: true, resume: false },
  { overwrite: false, resume: true },
  { overwrite: false, resume: false },
] as const

/**
 * @param folder an empty one
 * @param first the first call at which a process is killed, and `step` the distance to the next
 */
export async function killAtEveryCall(
  folder: string,
  { overwrite, resume }: (typeof KILL_CASES)[number],
  first = 0,
  step = 1,
): Promise<{ kills: number; problems: string[] }> {
  const output = join(folder, 'out.apr')
  const options = { fit: 'minmax', mode: 'stream', recordBytes: 400_000, overwrite, resume } as const
  await quantize(SAMPLE, output, options)
  const expected = readFileSync(output)
  const prepare = (): void => {
    for (const name of filesIn(folder)) rmSync(join(folder, name))
    if (overwrite) writeFileSync(output, OLD)
  }
  prepare()
  const { length } = await callsOf(() => quantize(SAMPLE, output, options))

  const problems: string[] = []
  let kills = 0
  const kill = async (killAt: number): Promise<void> => {
    const { signal } = await spawnJob(SAMPLE, output, options, { killAt }).ended
    if (signal === 'SIGKILL') kills++
    const found = existsSync(output) ? readFileSync(output) : undefined
    const isOld = overwrite ? found?.toString() === OLD : found === undefined
    if (!isOld && !found?.equals(expected)) problems.push(`call ${killAt}: neither the old file nor the new one`)
  }
  for (let n = first; n < length; n += step) {
    prepare()
    await kill(n)
    // What is left meets a second process, which is killed as it looks at it.
    if (n % 2 === 0) await kill(12 + ((7 * n) % 14))
    const isComplete = existsSync(output) && readFileSync(output).equals(expected)
    try {
      await quantize(SAMPLE, output, { ...options, overwrite: overwrite || isComplete })
      if (!readFileSync(output).equals(expected)) problems.push(`call ${n}: the next run wrote other bytes`)
    } catch (error) {
      problems.push(`call ${n}: the next run failed: ${String(error)}`)
    }
    const left = filesIn(folder).join(', ')
    if (left !== 'out.apr') problems.push(`call ${n}: the next run left ${left}`)
  }
  return { kills, problems }
}
