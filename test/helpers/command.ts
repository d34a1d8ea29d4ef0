/** Runs the command line as a user does: as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

export interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export function start(args: readonly string[], cwd?: string): ChildProcess {
  // Without what the test runner loads into its own processes.
  const env = { ...process.env, NODE_OPTIONS: '' }
  return spawn(process.execPath, [CLI, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
}

export async function result(child: ChildProcess): Promise<Result> {
  const chunks = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (chunks.stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (chunks.stderr += text))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...chunks }
}

/** Runs one command to its end. */
export const cli = (args: readonly string[], cwd?: string): Promise<Result> => result(start(args, cwd))
