/** What must hold for every file, whatever its bytes: no crash, no hang, no waste of memory, no output of a bad input. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Writable } from 'node:stream'
import { AprError, inspect, plan, quantize, verify, type ByteSource, type QuantizeOptions } from 'apr-stream'
import { memorySource } from '../helpers/memory-source.js'
import { randomBits } from '../helpers/random.js'
import { mutate, pick, type Random } from './mutate.js'
import { FUZZED_FORMATS, type FuzzedFormat } from './formats.js'

export interface FuzzOptions {
  readonly cases: number
  readonly seed: number
  /** The first case: a finding is seen again with its own number and `cases: 1`. */
  readonly first?: number
  /** Files of this format only, by how their names end; a case of one number is another one then. */
  readonly extension?: string | undefined
  /** An empty folder for outputs. */
  readonly folder: string
  /** Called before each case. */
  readonly onCase?: (index: number) => void
}

export interface Finding {
  readonly index: number
  readonly what: string
  readonly file: Buffer
  /** How the file's name ends. */
  readonly extension: string
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

export async function fuzz({ cases, seed, first = 0, extension: only, ...rest }: FuzzOptions): Promise<FuzzReport> {
  const { folder, onCase } = rest
  const findings: Finding[] = []
  const counts: Record<string, number> = {}
  const fuzzed = FUZZED_FORMATS.filter((format) => only === undefined || format.extension === only)
  const formats = fuzzed.map((format) => ({ format, seeds: format.makeSeeds() }))
  let index = first
  let file: Buffer = Buffer.alloc(0)
  let extension = ''
  const find = (what: string): void => void findings.push({ index, what, file, extension })
  const onStray = (error: unknown): void => find(`an error that nobody caught: ${describe(error)}`)
  process.on('unhandledRejection', onStray).on('uncaughtException', onStray)
  try {
    for (; index < first + cases; index++) {
      onCase?.(index)
      // Every case has its own random numbers: it is the same alone.
      const random = randomBits(seed * 0x9e3779b1 + index)
      const { format, seeds } = pick(formats, random)
      extension = format.extension
      file = mutate(pick(seeds, random)(), format.anatomy, random)
      resetPeak()
      const before = process.memoryUsage.rss()
      const started = performance.now()
      const outcome = `${extension} ${await checkFile({ file, format, random, folder, find })}`
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

/** A case: what is read, how, and where findings and outputs go. */
interface Case {
  readonly file: Buffer
  readonly format: FuzzedFormat
  readonly random: Random
  readonly folder: string
  readonly find: (what: string) => void
}

/** Says that a way to read a file has ended as `verify` has, which must be the same. */
type Same = (way: string, error: unknown) => void

async function checkFile(fuzzed: Case): Promise<string> {
  const { format, random, find } = fuzzed
  const recordBytes = pick([1, 1000, 65_536, 1024 * 1024], random)
  const verification = await within(() => verify(sourceOf(fuzzed)))
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
    return pipeline(format.reader(sourceOf(fuzzed), { recordBytes }), sink)
  })
  same('the reader', reader.error)
  const opened = await within(() => inspect(sourceOf(fuzzed)))
  if (opened.error !== undefined) same('inspect', opened.error)

  const isWritten = format.writer
    ? await checkWriter(fuzzed, format.writer, recordBytes, same)
    : await checkQuantize(fuzzed, recordBytes, ok, same)
  if (!ok) return verified?.code ?? 'no code'
  return isWritten ? 'written' : 'good'
}

function sourceOf({ file, format }: Case): ByteSource {
  return { ...memorySource(file), name: `memory${format.extension}` }
}

/** Reader and writer alone: the output is the input. */
async function checkWriter(
  fuzzed: Case,
  writer: NonNullable<FuzzedFormat['writer']>,
  recordBytes: number,
  same: Same,
): Promise<boolean> {
  const { file, format, folder, find } = fuzzed
  const output = join(folder, `out${format.extension}`)
  const stage = writer.create(output)
  const closed = new Promise((done) => stage.once('close', done))
  const done = await within(() => pipeline(format.reader(sourceOf(fuzzed), { recordBytes }), stage))
  await within(() => closed)
  const isEmpty = done.error instanceof AprError && done.error.code === 'APR_BAD_RECORD'
  if (!isEmpty) same('the writer', done.error)
  if (done.error === undefined && !readFileSync(output).equals(writer.expected(file))) find('written was another file')
  if (done.error === undefined) rmSync(output)
  checkNothingLeft(folder, 'the writer', find)
  return done.error === undefined
}

async function checkQuantize(fuzzed: Case, recordBytes: number, ok: boolean, same: Same): Promise<boolean> {
  const { file, format, random, folder, find } = fuzzed
  const planned = await within(() => plan(sourceOf(fuzzed)))
  // A plan tells what quantize would refuse: a model without tensors.
  const isRefused = (planned.error as AprError | undefined)?.code === 'APR_BAD_RECORD'
  if (planned.error !== undefined && !isRefused) same('plan', planned.error)

  const outputs: Buffer[] = []
  const options = {
    recordBytes,
    fit: pick(['search', 'minmax'] as const, random),
    kept: pick(['auto', 'same', 'f32'] as const, random),
    ...(random() % 2 === 0 && { select: () => true }),
  } satisfies QuantizeOptions
  for (const mode of ['stream', 'memory'] as const) {
    const output = join(folder, `out${format.extension}`)
    const isPath = random() % 16 === 0
    const path = join(folder, `in${format.extension}`)
    if (isPath) writeFileSync(path, file)
    const done = await within(() => quantize(isPath ? path : sourceOf(fuzzed), output, { ...options, mode }))
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
    checkNothingLeft(folder, `quantize, ${mode}`, find)
  }
  const [streamed, whole] = outputs
  if (outputs.length === 1 || (streamed && whole && !streamed.equals(whole))) find('the two modes differ')
  return outputs.length > 0
}

function checkNothingLeft(folder: string, way: string, find: (what: string) => void): void {
  const left = readdirSync(folder)
  if (left.length > 0) find(`${way}: left ${left.join(', ')}`)
  for (const name of left) rmSync(join(folder, name), { recursive: true })
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
