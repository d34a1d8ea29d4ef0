/** What must hold for every file, whatever its bytes: no crash, no hang, no waste of memory, no output of a bad input. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Writable } from 'node:stream'
import { AprError, aprReader, inspect, plan, quantize, verify, type QuantizeOptions } from 'apr-stream'
import { buildApr, f32Bytes } from '../helpers/apr-file.js'
import { memorySource } from '../helpers/memory-source.js'
import { randomBits } from '../helpers/random.js'
import { mutate, pick, type Random } from './mutate.js'

export interface FuzzOptions {
  readonly cases: number
  readonly seed: number
  /** The first case: a finding is seen again with its own number and `cases: 1`. */
  readonly first?: number
  /** An empty folder for outputs. */
  readonly folder: string
  /** Called before each case. */
  readonly onCase?: (index: number) => void
}

export interface Finding {
  readonly index: number
  readonly what: string
  readonly file: Buffer
}

export interface FuzzReport {
  readonly findings: readonly Finding[]
  /** How many files were good, how many were refused with which code, and how many outputs were written. */
  readonly counts: Readonly<Record<string, number>>
}

/** No operation on a file of this size takes longer, or more memory than the process has already. */
const MAX_MS = 10_000
const MAX_EXTRA_BYTES = 64 * 1024 * 1024

/** Of a file that `verify` calls good, `quantize` may still refuse values, and a model without tensors. */
const REFUSED_BY_QUANTIZE = ['APR_BAD_VALUE', 'APR_BAD_RECORD']

export async function fuzz({ cases, seed, first = 0, folder, onCase }: FuzzOptions): Promise<FuzzReport> {
  const findings: Finding[] = []
  const counts: Record<string, number> = {}
  const seeds = makeSeeds()
  let index = first
  let file: Buffer = Buffer.alloc(0)
  const find = (what: string): void => void findings.push({ index, what, file })
  const onStray = (error: unknown): void => find(`an error that nobody caught: ${describe(error)}`)
  process.on('unhandledRejection', onStray).on('uncaughtException', onStray)
  try {
    for (; index < first + cases; index++) {
      onCase?.(index)
      // Every case has its own random numbers: it is the same alone.
      const random = randomBits(seed * 0x9e3779b1 + index)
      file = mutate(pick(seeds, random)(), random)
      resetPeak()
      const before = process.memoryUsage.rss()
      const started = performance.now()
      const outcome = await checkFile(file, random, folder, find)
      counts[outcome] = (counts[outcome] ?? 0) + 1
      const extra = peakBytes() - before
      const ms = performance.now() - started
      if (ms > MAX_MS) find(`${ms.toFixed(0)} ms`)
      if (extra > MAX_EXTRA_BYTES && file.length < 1024 * 1024) find(`${extra} bytes of memory`)
    }
    await new Promise((done) => setImmediate(done))
  } finally {
    process.off('unhandledRejection', onStray).off('uncaughtException', onStray)
  }
  return { findings, counts }
}

async function checkFile(file: Buffer, random: Random, folder: string, find: (what: string) => void): Promise<string> {
  const recordBytes = pick([1, 1000, 65_536, 1024 * 1024], random)
  const verification = await within(() => verify(memorySource(file)))
  if (verification.value === undefined) {
    find(`verify: ${describe(verification.error)}`)
    return 'verify failed'
  }
  const { ok, error: verified } = verification.value
  const same = (way: string, error: unknown): void => {
    const isSame = error instanceof AprError && error.code === verified?.code && error.what === verified.what
    if (error === undefined ? !ok : !isSame) find(`${way} says ${describe(error)}, verify says ${describe(verified)}`)
  }
  const reader = await within(() => {
    const sink = new Writable({ objectMode: true, write: (_record, _encoding, done) => done() })
    return pipeline(aprReader(memorySource(file), { recordBytes }), sink)
  })
  same('aprReader', reader.error)

  for (const [way, open] of [
    ['inspect', inspect],
    ['plan', plan],
  ] as const) {
    const opened = await within<unknown>(() => open(memorySource(file)))
    // A plan tells what quantize would refuse: a model without tensors.
    const isRefused = way === 'plan' && (opened.error as AprError | undefined)?.code === 'APR_BAD_RECORD'
    if (opened.error !== undefined && !isRefused) same(way, opened.error)
  }

  const outputs: Buffer[] = []
  const options = {
    recordBytes,
    fit: pick(['search', 'minmax'] as const, random),
    kept: pick(['auto', 'same', 'f32'] as const, random),
    ...(random() % 2 === 0 && { select: () => true }),
  } satisfies QuantizeOptions
  for (const mode of ['stream', 'memory'] as const) {
    const output = join(folder, 'out.apr')
    const isPath = random() % 16 === 0
    const path = join(folder, 'in.apr')
    if (isPath) writeFileSync(path, file)
    const done = await within(() => quantize(isPath ? path : memorySource(file), output, { ...options, mode }))
    rmSync(path, { force: true })
    if (done.error === undefined) {
      if (!ok) find(`quantize, ${mode}: wrote an output of an input that is not good`)
      const written = await within(() => verify(output))
      if (!written.value?.ok) find(`quantize, ${mode}: wrote ${describe(written.error ?? written.value?.error)}`)
      outputs.push(readFileSync(output))
      rmSync(output)
    } else if (!(done.error instanceof AprError && REFUSED_BY_QUANTIZE.includes(done.error.code))) {
      // A file can be wrong in two ways: then quantize may come upon a value first.
      same(`quantize, ${mode}`, done.error)
    }
    const left = readdirSync(folder)
    if (left.length > 0) find(`quantize, ${mode}: left ${left.join(', ')}`)
    for (const name of left) rmSync(join(folder, name), { recursive: true })
  }
  const [streamed, whole] = outputs
  if (outputs.length === 1 || (streamed && whole && !streamed.equals(whole))) find('the two modes differ')
  if (!ok) return verified?.code ?? 'no code'
  return outputs.length > 0 ? 'written' : 'good'
}

/** The result, or the error, which then is not undefined; a hang is an error. */
async function within<T>(work: () => Promise<T>): Promise<{ value?: T; error?: unknown }> {
  let timer: NodeJS.Timeout | undefined
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${MAX_MS} ms`)), MAX_MS)
  })
  try {
    return { value: await Promise.race([work(), hang]) }
  } catch (error) {
    return { error: error ?? new Error('an error that is undefined') }
  } finally {
    clearTimeout(timer)
  }
}

function describe(error: unknown): string {
  return error instanceof AprError
    ? `${error.code} ${error.message}`
    : error instanceof Error
      ? (error.stack ?? '')
      : String(error)
}

/** What is mutated: small files mostly, so that most cases are quick. */
function makeSeeds(): (() => Buffer)[] {
  const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/apr/${name}.apr`, import.meta.url))
  const numbers = (count: number): Buffer => f32Bytes(Array.from({ length: count }, (_, i) => Math.sin(i) / 10))
  const small = [
    fixture('every-dtype'),
    fixture('golden_v2'),
    fixture('golden_v2_skip_none'),
    fixture('golden_v1'),
    buildApr({ tensors: [{ name: 'weight', shape: [2, 300], data: numbers(600) }] }),
    buildApr({ tensors: [{ name: 'weight', shape: [4, 256], data: numbers(1024) }], footer: false }),
    buildApr({
      tensors: [
        { name: 'q8', dtype: 'APR_Q8', shape: [3, 100], data: Buffer.concat([numbers(1), Buffer.alloc(300, 5)]) },
      ],
    }),
    buildApr({
      tensors: [
        { name: 'lm_head.weight', shape: [16, 32], data: Buffer.alloc(0) },
        { name: 'model.norm.weight', dtype: 'F16', shape: [32], data: Buffer.alloc(64, 0x30) },
        { name: 'q4', dtype: 'APR_Q4', shape: [2, 512], data: Buffer.alloc(576, 0x21) },
        { name: 'z', dtype: 'Q4_K', shape: [2, 384], data: Buffer.alloc(432) },
      ],
    }),
  ]
  const large = fixture('silero-vad.apr-quantize')
  return [...small, ...small, ...small, ...small, large].map((bytes) => () => bytes)
}

/** Linux forgets the process's peak of memory when asked to; elsewhere the peak is that of all cases so far. */
function resetPeak(): void {
  if (process.platform !== 'linux') return
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {
    // A container may forbid it: the peak is then that of all cases.
  }
}

function peakBytes(): number {
  if (process.platform !== 'linux') return process.memoryUsage.rss()
  const kibibytes = /^VmHWM:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return Number(kibibytes) * 1024
}
