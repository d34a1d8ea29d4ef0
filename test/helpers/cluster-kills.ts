/**
 * One model made by three workers while workers, Redis and the object storage are killed and started again, and workers sleep
 * until others have their parts. What comes of it: the right bytes, or a failure that says why and nothing to be seen.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { abort, plan, type PartsPlanOptions } from 'apr-stream/parts'
import { addFlowWith } from '../../dist/bullmq/flow.js'
import { SHORT_SETTINGS, startWorker, type WorkerProcess } from './cluster.js'
import { filesIn } from './files.js'
import { randomBits } from './random.js'
import type { RedisServer } from './servers/redis.js'
import type { S3Server } from './servers/s3.js'

export interface KillRun {
  readonly seed: number
  readonly input: string
  readonly options: PartsPlanOptions
  /** SHA-256 of what it should become. */
  readonly expected: string
  readonly redis: RedisServer
  /** Milliseconds that each part takes longer, so that there is time to kill in. */
  readonly slowMs?: number
  /** Where the output goes there instead of a folder. */
  readonly s3?: S3Server | undefined
}

export interface KillOutcome {
  readonly what: 'done' | 'failed'
  readonly happened: readonly string[]
  readonly seconds: number
  readonly error?: unknown
}

const WORKERS = 3
/** Milliseconds after the flow was added: by then Redis has it on its disk. */
const FIRST_KILL = 1200

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** @throws Error where something else came of it than the right bytes, or a failure with nothing to be seen */
export async function killRun(t: Test, run: KillRun): Promise<KillOutcome> {
  const { seed, redis, s3, expected } = run
  const bits = randomBits(seed)
  const below = (count: number): number => bits() % count
  const started = performance.now()
  const folder = t.testdir({})
  const name = `out-${seed}.${run.input.endsWith('.apr') ? 'apr' : 'gguf'}`
  const output = s3 ? `s3://${s3.bucket}/${name}` : join(folder, name)
  const visible = (): Uint8Array | undefined =>
    s3 ? s3.object(name) : existsSync(output) ? readFileSync(output) : undefined

  const made = await plan(run.input, output, run.options)
  const { slowMs: slow = s3 ? 500 : 100 } = run
  const workers: WorkerProcess[] = await Promise.all(
    Array.from({ length: WORKERS }, () => startWorker(t, redis.url, slow)),
  )
  const flow = await addFlowWith({ abort, settings: SHORT_SETTINGS }, made, redis.url)
  const stop = new AbortController()
  const waiting = flow.wait({ signal: stop.signal }).then(
    () => undefined,
    (error: unknown) => error,
  )
  const state = { isOver: false }
  void waiting.then(() => (state.isOver = true))

  const happened: string[] = []
  const pending: Promise<unknown>[] = []
  const kills = 4 + below(4)
  await sleep(FIRST_KILL)
  for (let kill = 0; kill < kills && !state.isOver; kill++) {
    const victim = below(WORKERS)
    const kind = below(s3 ? 10 : 8)
    if (kind < 5) {
      happened.push(`worker ${victim} killed`)
      await workers[victim]?.kill()
      pending.push(startWorker(t, redis.url, slow).then((worker) => (workers[victim] = worker)))
    } else if (kind < 7) {
      happened.push(`worker ${victim} sleeps`)
      const sleeper = workers[victim]?.child
      sleeper?.kill('SIGSTOP')
      pending.push(sleep(1500 + below(1500)).then(() => sleeper?.kill('SIGCONT')))
    } else {
      const server = kind === 7 ? redis : (s3 ?? redis)
      happened.push(server === redis ? 'Redis killed' : 'object storage killed')
      await server.kill()
      await sleep(100 + below(700))
      await server.restart()
    }
    await sleep(below(900))
  }
  await Promise.all(pending)
  const failure = await Promise.race([waiting, sleep(120_000, new Error('not over after two minutes'), { ref: false })])
  stop.abort()
  // Sleepers that come back late must not change what is there.
  await sleep(200)
  const outcome = { happened, seconds: (performance.now() - started) / 1000 }
  try {
    const bytes = visible()
    if (failure !== undefined) {
      if (!(failure instanceof Error) || !('code' in failure)) throw failure as Error
      if (bytes) throw new Error(`it failed, and there is an output: ${failure.message}`)
      await flow.cancel()
      await checkNothingLeft(folder, s3)
      return { what: 'failed', error: failure, ...outcome }
    }
    if (!bytes || sha256(bytes) !== expected) throw new Error(`other bytes: ${bytes?.length ?? 'none'}`)
    await checkNothingLeft(folder, s3)
    return { what: 'done', ...outcome }
  } catch (error) {
    throw new Error(`seed ${seed}, ${happened.join(', ')}: ${String(error)}`, { cause: error })
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()))
    await flow.close()
  }
}

/** But the note that says whose the output is. */
async function checkNothingLeft(folder: string, s3: S3Server | undefined): Promise<void> {
  const left = s3 ? await s3.openUploads() : filesIn(folder).filter((file) => file.includes('.partial'))
  if (left.length > 0) throw new Error(`left: ${left.join(', ')}`)
}
