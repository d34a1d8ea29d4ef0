/**
 * Makes calls to the file system fail, fall short or end the process, and tells what a process holds. Every call of the
 * package goes through the one object that `fs-extra` exports: its functions are replaced there, and put back.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { getSystemErrorName } from 'node:util'
import fs from 'fs-extra'
import { aprReader, aprWriter, filterTensors, q4k, quantize, type TensorRecord } from 'apr-stream'
import { arbitraryTensor, modelBytes, run } from './files.js'

const FUNCTIONS = [
  ...['open', 'close', 'read', 'write', 'fsync', 'fdatasync', 'ftruncate', 'fstat', 'fchmod', 'fchown'],
  ...['stat', 'realpath', 'readFile', 'readdir', 'rename', 'link', 'remove'],
] as const

/** A call to the file system. */
export interface Call {
  /** Its turn, from 0 on. */
  readonly number: number
  readonly name: string
  /** Path of the file, also where the call names it by a descriptor. */
  readonly path: string
  /** As `write out.apr.partial`: the same in every run. */
  readonly label: string
  readonly args: readonly unknown[]
}

type Perform = (args?: readonly unknown[]) => Promise<unknown>
type Functions = Record<string, (...args: unknown[]) => Promise<unknown>>

/** Hands every call that is made while `work` runs to `handle`, which may perform it. */
export async function intercept<T>(
  handle: (call: Call, perform: Perform) => unknown,
  work: () => Promise<T>,
): Promise<T> {
  const functions = fs as unknown as Functions
  const originals = FUNCTIONS.map((name) => [name, functions[name]] as const)
  const paths = new Map<unknown, string>()
  let count = 0
  for (const [name, original] of originals) {
    functions[name] = async (...args) => {
      const path = typeof args[0] === 'string' ? args[0] : (paths.get(args[0]) ?? '')
      const call = { number: count++, name, path, label: `${name} ${basename(path)}`, args }
      const result = await handle(call, async (changed = args) => await original?.apply(fs, [...changed]))
      if (name === 'open') paths.set(result, path)
      return result
    }
  }
  try {
    return await work()
  } finally {
    for (const [name, original] of originals) if (original) functions[name] = original
  }
}

/** Every call that `work` makes. */
export async function callsOf(work: () => Promise<unknown>): Promise<Call[]> {
  const calls: Call[] = []
  const handle = (call: Call, perform: Perform): unknown => {
    calls.push(call)
    return perform()
  }
  await intercept(handle, work)
  return calls
}

/** An error as the system gives it: of a path it names the path, of a descriptor it names nothing. */
export function systemError(code: 'EIO' | 'ENOSPC' | 'EACCES' | 'EMFILE', { name, args }: Call): NodeJS.ErrnoException {
  const errno = { EIO: -5, ENOSPC: -28, EACCES: -13, EMFILE: -24 }[code]
  const [path] = args
  const message = `${getSystemErrorName(errno)}: injected, ${name}${typeof path === 'string' ? ` '${path}'` : ''}`
  return Object.assign(new Error(message), { code, errno, syscall: name, ...(typeof path === 'string' && { path }) })
}

/** What a process holds that a job must give back. */
export interface Holdings {
  readonly descriptors: number
  readonly threads: number
}

/** What this process holds now. Linux tells; elsewhere nothing is compared. */
export function holdings(): Holdings {
  if (process.platform !== 'linux') return { descriptors: 0, threads: 0 }
  return { descriptors: readdirSync('/proc/self/fd').length, threads: readdirSync('/proc/self/task').length }
}

/** Rejections that nobody handled while `work` ran. */
export async function unhandledIn(work: () => Promise<void>): Promise<unknown[]> {
  const found: unknown[] = []
  const listener = (reason: unknown): unknown => found.push(reason)
  process.on('unhandledRejection', listener)
  process.on('uncaughtException', listener)
  try {
    await work()
    await new Promise(setImmediate)
  } finally {
    process.off('unhandledRejection', listener)
    process.off('uncaughtException', listener)
  }
  return found
}

/** Names of all files in a folder, and SHA-256 of their bytes. */
export function contents(folder: string): Record<string, string> {
  const names = readdirSync(folder).sort()
  return Object.fromEntries(
    names.map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex'),
    ]),
  )
}

/** A model of so many F32 or F16 elements: matrices of 1000 columns, and a few small tensors between them. */
export function largeModel(elements: number, dtype: 'F32' | 'F16' = 'F32', tensors = 8): Buffer {
  const rows = Math.ceil(elements / tensors / 1000)
  const elementBytes = dtype === 'F32' ? 4 : 2
  const tile = arbitraryTensor('', dtype, [9973]).bytes
  return modelBytes({
    tensors: Array.from({ length: tensors }, (_, i) => {
      const size = rows * 1000 * elementBytes
      const bytes = Buffer.alloc(size, tile.subarray(i * elementBytes))
      return [
        { name: `${i}.weight`, dtype, shape: [rows, 1000], size, bytes },
        arbitraryTensor(`${i}.bias`, 'F32', [1000], i),
      ]
    }).flat(),
  })
}

/** Without what the test runner loads into every process: it takes a second, and files that it may leave open. */
export const PLAIN_ENVIRONMENT = { ...process.env, NODE_OPTIONS: '' }

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What a child process does before its job. */
export interface ChildOptions {
  /** Ends the process by SIGKILL instead of its call of this number to the file system, from 0 on. */
  killAt?: number
  /** Stops the process by SIGSTOP before the call that has this label. */
  stopAt?: string
  /** The function of the package that is called. Default `quantize`. */
  call?: 'quantize' | 'convert'
}

/** A process that quantizes `input` to `output` by a call of the package, and prints its report or its error as JSON. */
export function spawnJob(
  input: string,
  output: string,
  options: object,
  { killAt, stopAt, call = 'quantize' }: ChildOptions = {},
): Child {
  const program = `
    import { basename } from 'node:path'
    import fs from 'fs-extra'
    import { ${call} } from 'apr-stream'
    let count = 0
    const [killAt, stopAt] = ${JSON.stringify([killAt ?? -1, stopAt ?? ''])}
    for (const name of ${JSON.stringify(FUNCTIONS)}) {
      const original = fs[name]
      fs[name] = (...args) => {
        if (count++ === killAt) process.kill(process.pid, 'SIGKILL')
        if (name + ' ' + basename(String(args[0])) === stopAt) process.kill(process.pid, 'SIGSTOP')
        return original.apply(fs, args)
      }
    }
    try {
      console.log(JSON.stringify(await ${call}(...${JSON.stringify([input, output, options])})))
    } catch ({ code, message, file }) {
      console.log(JSON.stringify({ code, message, file }))
      process.exitCode = 1
    }`
  return watch(
    spawn(process.execPath, ['--input-type=module', '-e', program], {
      cwd: ROOT,
      stdio: 'pipe',
      env: PLAIN_ENVIRONMENT,
    }),
  )
}

/** A process of the command line. */
export function spawnCli(args: readonly string[]): Child {
  return watch(
    spawn(process.execPath, [join(ROOT, 'dist/cli.js'), ...args], { cwd: ROOT, stdio: 'pipe', env: PLAIN_ENVIRONMENT }),
  )
}

export interface Child {
  readonly process: ChildProcess
  readonly ended: Promise<Ended>
}

/** How a process ended, and what it printed. */
export interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

function watch(child: ChildProcess): Child {
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (data: Buffer) => (stdout += data.toString()))
  child.stderr?.on('data', (data: Buffer) => (stderr += data.toString()))
  const ended = new Promise<Ended>((done) =>
    child.on('close', (status, signal) => done({ status, signal, stdout, stderr })),
  )
  return { process: child, ended }
}

/** Waits until `isTrue`, for at most ten seconds. */
export async function until(isTrue: () => boolean): Promise<void> {
  for (let waited = 0; !isTrue(); waited += 5) {
    if (waited > 10_000) throw new Error('it did not come true')
    await new Promise((done) => setTimeout(done, 5))
  }
}

/** A few records, so that there are many reads and writes. */
const READS = { recordBytes: 70_000, highWaterMark: 200_000 } as const
const FIT = { fit: 'minmax' } as const
export const SIZES = { ...READS, ...FIT } as const

/** A way to quantize a file. */
export interface Job {
  readonly title: string
  readonly overwrite: boolean
  readonly input?: string
  readonly perform: (input: string, output: string, overwrite: boolean) => Promise<unknown>
}

/** The ways to quantize a file: two modes of one call, and two pipelines. */
export const FORMS: readonly Omit<Job, 'overwrite'>[] = [
  ...(['stream', 'memory'] as const).map((mode) => ({
    title: `quantize, mode ${mode}`,
    perform: (input: string, output: string, overwrite: boolean) =>
      quantize(input, output, { ...SIZES, mode, overwrite }),
  })),
  {
    title: 'pipeline of reader, q4k and writer',
    perform: (input, output, overwrite) => run([aprReader(input, READS), q4k(FIT), aprWriter(output, { overwrite })]),
  },
  {
    title: 'pipeline that drops tensors without a word',
    perform: (input, output, overwrite) =>
      run([aprReader(input, READS), dropBiases, q4k(FIT), filterTensors(() => true), aprWriter(output, { overwrite })]),
  },
]

/** A stage of a user's own: the writer learns only at the end that tensors are missing, and moves the others. */
async function* dropBiases(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) if (!record.name.includes('bias')) yield record
}

/** The error that `work` rejects with, if it does. */
export async function settle(work: () => Promise<unknown>): Promise<{ error: Error | undefined }> {
  try {
    await work()
    return { error: undefined }
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(String(error)) }
  }
}

/** In which files two folders differ. */
export function describeChanges(found: Record<string, string>, wanted: Record<string, string>): string {
  const names = [...new Set([...Object.keys(found), ...Object.keys(wanted)])].filter((n) => found[n] !== wanted[n])
  return names
    .map((n) => (found[n] === undefined ? `no ${n}` : wanted[n] === undefined ? n : `another ${n}`))
    .join(', ')
}
