import { join } from 'node:path'
import { test } from 'tap'
import { plan, quantize, type QuantizeOptions } from 'apr-stream'
import { buildApr } from '../helpers/apr-file.js'
import { filesIn, MemorySource, SAMPLE } from '../helpers/files.js'

/** What a job and its plan answer to the same options: an error, or what both tell. */
async function answers(
  input: () => string | MemorySource,
  output: string,
  options: QuantizeOptions,
): Promise<unknown[]> {
  const told = async (work: Promise<object>): Promise<object> => {
    try {
      const { mode, outputBytes, reasons, warnings } = (await work) as Awaited<ReturnType<typeof plan>>
      return { mode, outputBytes, reasons, warnings }
    } catch (error) {
      const { name, code, message, cause } = error as NodeJS.ErrnoException
      return { name, code, message, cause }
    }
  }
  return [await told(plan(input(), { ...options, output })), await told(quantize(input(), output, options))]
}

void test('a plan answers as the job would', async (t) => {
  const folder = t.testdir()
  const options: Readonly<Record<string, QuantizeOptions>> = {
    nothing: {},
    resume: { resume: true },
    'resume in mode auto': { resume: true, mode: 'auto', threshold: 2 ** 40 },
    'resume in mode memory': { resume: true, mode: 'memory' },
    'a threshold of nothing': { threshold: 0 },
    ...{ stream: { mode: 'stream' }, memory: { mode: 'memory' } },
    'a bad mode': { mode: 'fast' as 'stream' },
    'a bad threshold in another mode': { mode: 'stream', threshold: -1 },
    'bad records': { recordBytes: 0 },
    'a bad function': { onProgress: 'x' as unknown as () => void },
    'a bad signal': { signal: {} as AbortSignal },
    'an answer that is none': { select: () => 1 as unknown as boolean },
  }
  for (const [what, given] of Object.entries(options)) {
    const [planned, done] = await answers(() => SAMPLE, join(folder, 'out.apr'), { overwrite: true, ...given })
    t.strictSame(planned, done, what)
  }
  const [resumed] = await answers(() => SAMPLE, join(folder, 'out.apr'), { resume: true, overwrite: true })
  t.match(resumed, { mode: 'stream' }, 'a job that can be gone on with streams')
})

void test('a plan of a model without tensors is refused as the job is, and nothing is written', async (t) => {
  const folder = t.testdir()
  const file = buildApr({ tensors: [] })
  const sources: MemorySource[] = []
  const input = (): MemorySource => {
    const source = new MemorySource(file)
    sources.push(source)
    return source
  }
  for (const mode of ['stream', 'memory'] as const) {
    const [planned, done] = await answers(input, join(folder, 'out.apr'), { mode })
    const message = 'expected at least one tensor, found a model without any (file memory.apr)'
    t.match(planned, { code: 'APR_BAD_RECORD', message }, mode)
    t.strictSame(planned, done, mode)
  }
  t.same(
    sources.map(({ closed }) => closed),
    [1, 1, 1, 1],
  )
  t.same(filesIn(folder), [])
})

void test('a plan estimates the memory of the mode that the job takes', async (t) => {
  const memory = await plan(SAMPLE, { mode: 'memory' })
  const stream = await plan(SAMPLE, { mode: 'stream' })
  const resumed = await plan(SAMPLE, { resume: true })
  t.ok(stream.peakMemoryBytes < memory.peakMemoryBytes)
  t.equal(resumed.peakMemoryBytes, stream.peakMemoryBytes)
})
