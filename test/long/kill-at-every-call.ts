/** Kills processes at one call to the file system after the other: a moment between two steps, and no other. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { convert, quantize } from 'apr-stream'
import { filesIn, SAMPLE } from '../helpers/files.js'
import { callsOf, contents, describeChanges, spawnJob } from '../helpers/faults.js'

const OLD = 'what stood here before'

export const KILL_CASES = [
  { overwrite: true, resume: true },
  { overwrite: true, resume: false },
  { overwrite: false, resume: true },
  { overwrite: false, resume: false },
] as const

/** A conversion to several files: the first one by name, by which the others are found. */
export interface SeveralFiles {
  readonly input: string
  /** Name of the output in its folder. */
  readonly output: string
  readonly first: string
}

const SMALL = 'test/fixtures/hf/small'
export const SEVERAL: Readonly<Record<string, SeveralFiles>> = {
  'GGUF in parts': {
    ...{ input: `${SMALL}/gguf/tiny-llama-f32.convert.gguf`, output: 'out.gguf' },
    first: 'out-00001-of-00002.gguf',
  },
  'a folder of shards': { input: `${SMALL}/models/tiny-llama-f32`, output: '', first: 'model.safetensors.index.json' },
}

/**
 * The same of a conversion to several files: whatever is there, the file by which they are found is that of a whole model.
 * @param folder an empty one
 */
export async function killSeveralAtEveryCall(
  folder: string,
  { input, output, first }: SeveralFiles,
  { overwrite, resume }: (typeof KILL_CASES)[number],
  start = 0,
  step = 1,
): Promise<{ kills: number; problems: string[] }> {
  const place = join(folder, output)
  const options = { splitMaxBytes: 200_000, recordBytes: 50_000, overwrite, resume }
  const clear = (): void => {
    for (const name of filesIn(folder)) rmSync(join(folder, name))
  }
  await convert(input, place, options)
  const expected = contents(folder)
  const prepare = (): void => {
    clear()
    if (overwrite) for (const name of Object.keys(expected)) writeFileSync(join(folder, name), `${OLD} ${name}`)
  }
  prepare()
  const old = contents(folder)
  const { length } = await callsOf(() => convert(input, place, options))
  const problems: string[] = expected[first] === undefined ? [`no ${first} was written`] : []
  let kills = 0
  const holds = (wanted: Readonly<Record<string, string>>): boolean => {
    const found = contents(folder)
    return Object.keys(wanted).every((name) => found[name] === wanted[name])
  }
  const kill = async (killAt: number): Promise<void> => {
    const { signal } = await spawnJob(input, place, options, { killAt, call: 'convert' }).ended
    if (signal === 'SIGKILL') kills++
    const isMixed = existsSync(join(folder, first)) && !holds(expected) && !(overwrite && holds(old))
    if (isMixed) problems.push(`call ${killAt}: ${first} of a model that is not whole`)
  }
  for (let n = start; n < length; n += step) {
    prepare()
    await kill(n)
    if (n % 2 === 0) await kill(12 + ((7 * n) % 14))
    try {
      await convert(input, place, { ...options, overwrite: overwrite || holds(expected) })
      const left = contents(folder)
      if (JSON.stringify(left) !== JSON.stringify(expected)) {
        problems.push(`call ${n}: the next run left ${describeChanges(left, expected)}`)
      }
    } catch (error) {
      problems.push(`call ${n}: the next run failed: ${String(error)}`)
    }
  }
  return { kills, problems }
}

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
