/** Any bytes of any output, made of nothing but what they need, are those of the stream's file. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { convert, quantize, type ConvertOptions, type QuantizeOptions } from 'apr-stream'
import { openJob, type JobOptions } from '../../dist/jobs/parts/opened-job.js'
import { goldenFolder } from '../helpers/golden-hf.js'
import { fileOf, policy, randomModel } from '../helpers/random-models.js'

/** The file that the streams make. */
async function streamed(input: string, output: string, options: JobOptions): Promise<Buffer> {
  const { convert: isConversion, ...rest } = options
  if (isConversion === true) await convert(input, output, { ...(rest as ConvertOptions), overwrite: true })
  else await quantize(input, output, { ...(rest as QuantizeOptions), mode: 'stream', overwrite: true })
  return readFileSync(output)
}

/** The first byte of these ranges that is another than in the file; undefined where there is none. */
async function difference(
  input: string,
  output: string,
  options: JobOptions,
  ranges: (end: number) => readonly (readonly [start: number, size: number])[],
  blockBytes: number,
): Promise<string | undefined> {
  const file = await streamed(input, output, options)
  const job = await openJob(input, output, options)
  try {
    if (job.fileSize !== file.length) return `${job.fileSize} bytes instead of ${file.length}`
    const end = job.fileSize - job.tailBytes
    const blocks: [number, number][] = []
    for (let start = 0; start < end; start += blockBytes) blocks.push([start, Math.min(blockBytes, end - start)])
    const runs = []
    for (const [i, [start, size]] of [...blocks, ...ranges(end)].entries()) {
      const target = new Uint8Array(size).fill(0xaa)
      const { sources } = await job.makeBytes(target, start)
      if (i < blocks.length) runs.push(...sources)
      const at = target.findIndex((byte, j) => byte !== file[start + j])
      if (at >= 0) return `byte ${start + at} of the bytes from ${start} on`
    }
    // Nobody's own bytes are another's, in whatever order they are told.
    const sorted = runs.toSorted((a, b) => a.file - b.file || a.start - b.start)
    const twice = sorted.find((run, i) => run.file === sorted[i - 1]?.file && run.start < (sorted[i - 1]?.end ?? 0))
    if (twice) return `the source's bytes from ${twice.start} on are counted twice`
    await job.finishSources(runs.reverse())
    return undefined
  } finally {
    await job.close()
  }
}

const places = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 1, max: 3000 })), {
  maxLength: 6,
})
const rangesOf = (found: readonly (readonly [number, number])[]) => (end: number) =>
  found.map(([at, size]): [number, number] => {
    const start = Math.min(end - 1, Math.floor(at * end))
    return [start, Math.min(size, end - start)]
  })

void test('random models: every range and every cut into blocks, of what is quantized, widened and copied', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const block = fc.integer({ min: 300, max: 20_000 })
  const property = fc.asyncProperty(randomModel(), policy, places, block, async (model, policy, found, blockBytes) => {
    writeFileSync(input, fileOf(model))
    const options = { ...policy, recordBytes: 1000 + (blockBytes % 7000) }
    const where = await difference(input, output, options, rangesOf(found), blockBytes)
    if (where !== undefined) throw new Error(where)
  })
  await t.resolves(fc.assert(property, { seed: Number(process.env['SEED'] ?? 1), numRuns: 60 }))
})

const IMATRIX = 'test/fixtures/hf/small/imatrix'
const JOBS: readonly [name: string, output: string, options: JobOptions][] = [
  ['Golden-Llama-3.2-Instruct', 'a.gguf', { convert: true, pre: 'llama-bpe', outtype: 'f32' }],
  ['Golden-Llama-3.2-Instruct', 'a.gguf', { recipe: 'Q4_K_M', pre: 'llama-bpe' }],
  [
    'Golden-Llama-3.2-Instruct',
    'a.gguf',
    {
      ...{ recipe: 'Q4_K_M', pre: 'llama-bpe', types: { attn_output: 'Q5_0' } },
      imatrix: `${IMATRIX}/Golden-Llama-3.2-Instruct/imatrix.gguf`,
    },
  ],
  ['mixtral-eight', 'a.gguf', { recipe: 'Q3_K_M', pre: 'tekken' }],
  ['golden-qwen3moe-4x64', 'a.gguf', { convert: true, pre: 'qwen2' }],
  ['golden-qwen3moe-4x64', 'a.apr', { convert: true }],
]

for (const [name, output, options] of JOBS) {
  void test(`${name} as ${JSON.stringify(options)}: every block and range, with records of any size`, async (t) => {
    const folder = t.testdir()
    for (const [recordBytes, blockBytes] of [
      [2 ** 21, 65_536],
      [5000, 100_003],
    ] as const) {
      const where = await difference(
        goldenFolder(name),
        join(folder, output),
        { ...options, recordBytes },
        rangesOf(fc.sample(places, { seed: blockBytes, numRuns: 5 }).flat()),
        blockBytes,
      )
      t.equal(where, undefined, `blocks of ${blockBytes}`)
    }
  })
}

void test('from GGUF to APR, on to Q4_K with minmax, and back to GGUF', async (t) => {
  const folder = t.testdir()
  const [gguf, apr, small, back] = ['a.gguf', 'a.apr', 'b.apr', 'b.gguf'].map((name) => join(folder, name)) as [
    ...[string, string, string, string],
  ]
  await convert(goldenFolder('golden-qwen3moe-4x64'), gguf, { pre: 'qwen2' })
  t.equal(await difference(gguf, apr, { convert: true }, () => [], 77_777), undefined)
  t.equal(await difference(apr, small, { fit: 'minmax' }, () => [], 50_001), undefined)
  t.equal(await difference(apr, back, { recipe: 'Q5_K_M' }, () => [], 65_536), undefined)
})

void test('a source whose checksum is wrong is refused at the end, whoever has read it', async (t) => {
  const folder = t.testdir()
  const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
  const bytes = readFileSync('test/fixtures/apr/every-dtype.apr')
  bytes.writeUInt32LE((bytes.readUInt32LE(bytes.length - 4) ^ 1) >>> 0, bytes.length - 4)
  writeFileSync(input, bytes)
  const job = await openJob(input, output)
  const target = new Uint8Array(job.fileSize - job.tailBytes)
  const { sources } = await job.makeBytes(target, 0)
  await t.rejects(job.finishSources(sources), { code: 'APR_BAD_CRC' })
  await t.rejects(job.finishSources([]), { code: 'APR_BAD_CRC' }, 'what nobody has read is read')
  await job.close()
})
