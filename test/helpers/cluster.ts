/** Several processes that make the parts of one model, and what happens to them. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import type { WorkersEvent } from '../../dist/bullmq/workers.js'

/** Milliseconds; so that a killed part comes back within seconds. */
export const SHORT_SETTINGS = { lockDuration: 1000, stalledInterval: 500, backoff: 100 }

export interface WorkerProcess {
  readonly child: ChildProcess
  /** What it has told, with the time by the clock of this process. */
  readonly events: (WorkersEvent & { at: number })[]
  /** Ends it at once. */
  kill(): Promise<void>
}

const DIST = new URL('../../dist/', import.meta.url).href

/** @param slow milliseconds that each part takes longer than it would, half of them before and half after its work */
export async function startWorker(t: Test, url: string, slow = 0): Promise<WorkerProcess> {
  const program = `
    import { createWorkersWith } from '${DIST}bullmq/workers.js'
    import { finish, part } from '${DIST}jobs/parts/index.js'
    const pause = () => new Promise((resolve) => setTimeout(resolve, ${slow} / 2))
    const functions = {
      settings: ${JSON.stringify(SHORT_SETTINGS)},
      async part(...call) { await pause(); const receipts = await part(...call); await pause(); return receipts },
      async finish(...call) { await pause(); const finished = await finish(...call); await pause(); return finished },
    }
    const onEvent = (event) => console.log(JSON.stringify(event))
    const workers = await createWorkersWith(functions, ${JSON.stringify(url)}, { threads: 1, onEvent })
    process.on('SIGTERM', () => workers.close())
    console.log('"ready"')
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const killNow = (): unknown => child.kill('SIGKILL')
  process.once('exit', killNow)
  const kill = async (): Promise<void> => {
    process.off('exit', killNow)
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.teardown(kill)
  const events: WorkerProcess['events'] = []
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    const event = JSON.parse(line) as WorkersEvent | 'ready'
    if (event !== 'ready') events.push({ ...event, at: performance.now() })
  })
  await Promise.race([once(lines, 'line'), once(child, 'exit')])
  return { child, events, kill }
}
