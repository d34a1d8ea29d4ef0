/**
 * Random models through recipes in every way there is: all give the same bytes, and those of a plain computation.
 *
 * For longer: `RANDOM_MODELS=500 SEED=7 npx tap --timeout=0 test/recipes/crossing.test.ts`
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type Test } from 'tap'
import {
  convert,
  ggufReader,
  ggufWriter,
  plan,
  quantize,
  recipe,
  type PlannedTensor,
  type QuantizeOptions,
  type RecipeText,
} from 'apr-stream'
import { threadsFor } from '../../dist/threads/executor.js'
import { run, sameBytes } from '../helpers/files.js'
import { converted, largeLlama, randomLlama, type RandomLlama } from '../helpers/random-llama.js'
import { randomBits } from '../helpers/random.js'

const RUNS = Number(process.env['RANDOM_MODELS'] ?? 19)
const SEED = Number(process.env['SEED'] ?? 1)

const NAMES: readonly RecipeText[] = [
  ...(['Q4_K_M', 'Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q5_K_S', 'Q5_K_M', 'Q6_K', 'Q8_0'] as const),
  ...(['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'IQ4_NL', 'IQ4_XS', 'F16', 'BF16', 'F32'] as const),
]

type Choices = Pick<QuantizeOptions, 'recipe' | 'imatrix' | 'types' | 'outputType' | 'embeddingType' | 'pure'>

for (let number = 0; number < RUNS; number++) {
  const seed = SEED * 1000 + number
  const bits = randomBits(seed)
  const below = (count: number): number => Math.floor((bits() / 2 ** 32) * count)
  const name = NAMES[number % NAMES.length] as RecipeText
  const choices: Choices = {
    ...(below(2) === 0 && { imatrix: 'matrix.gguf' }),
    ...(below(3) === 0 && { types: { 'attn_[vk]': 'Q5_1', ffn_down: 'IQ4_NL' } }),
    ...(below(4) === 0 && { outputType: 'F16' }),
    ...(below(4) === 0 && { embeddingType: 'Q8_0' }),
    ...(below(5) === 0 && { pure: true }),
  }
  const sizes = { recordBytes: [1, 1000, 4096, 100_000][below(4)], highWaterMark: [1, 200_000][below(2)] }

  void test(`a random model to ${name}, number ${seed}`, async (t) => {
    t.comment(JSON.stringify({ ...choices, ...sizes }))
    const folder = t.testdir()
    const model = randomLlama(seed)
    const input = join(folder, 'in.gguf')
    writeFileSync(input, model.file)
    writeFileSync(join(folder, 'matrix.gguf'), model.matrix)
    const isWeighted = choices.imatrix !== undefined
    const given = { ...choices, ...(isWeighted && { imatrix: join(folder, 'matrix.gguf') }), allowRequantize: true }
    const expected = await inOneGo(t, model, input, { ...given, recipe: name })
    await otherWays(t, input, expected, name, { ...given, ...sizes })
  })
}

void test('as many threads as there are, and records of any size, give the bytes of one thread', async (t) => {
  const folder = t.testdir()
  const { tensors, file, matrix } = largeLlama()
  const [input, imatrix] = [join(folder, 'in.gguf'), join(folder, 'matrix.gguf')]
  writeFileSync(input, file)
  writeFileSync(imatrix, matrix)
  const elements = tensors.reduce((sum, { bytes }) => sum + bytes.length / 2, 0)
  t.equal(threadsFor(elements, 2), 2)
  for (const name of ['Q4_K_M', 'Q5_0'] as const) {
    const make = async (options: QuantizeOptions): Promise<Buffer> => {
      const output = join(folder, 'out.gguf')
      await quantize(input, output, { recipe: name, imatrix, overwrite: true, ...options })
      return readFileSync(output)
    }
    const expected = await make({ mode: 'memory', threads: 1 })
    for (const recordBytes of [30_000, 2 ** 20, 2 ** 22]) {
      const found = await make({ mode: 'stream', threads: 2, recordBytes })
      sameBytes(t, found, expected, `${name}, records of ${recordBytes}`)
    }
  }
})

/** In memory: what every other way is to give. */
async function inOneGo(t: Test, model: RandomLlama, input: string, options: Choices): Promise<Buffer> {
  const output = join(t.testdirName, 'out.gguf')
  const { decisions, outputBytes } = await plan(input, { ...options, allowRequantize: true })
  const report = await quantize(input, output, { ...options, allowRequantize: true, mode: 'memory' })
  t.equal(report.outputBytes, outputBytes, 'the size that was planned')
  const found = new Map<string, Buffer>()
  for await (const { name, data } of ggufReader(output)) {
    found.set(name, Buffer.concat([found.get(name) ?? Buffer.alloc(0), data]))
  }
  const planned = new Map(decisions.map((decision): [string, PlannedTensor] => [decision.name, decision]))
  const different = model.tensors.filter((tensor) => {
    const dtype = planned.get(tensor.name)?.outputDType ?? 'F32'
    const bytes = converted(tensor, dtype, options.imatrix !== undefined)
    return Buffer.compare(bytes, found.get(tensor.name) ?? Buffer.alloc(0)) !== 0
  })
  t.strictSame(
    different.map(({ name, dtype }) => `${name} ${dtype} ${planned.get(name)?.outputDType ?? ''}`),
    [],
    'the tensors of a plain computation',
  )
  t.equal(found.size, model.tensors.length)
  return readFileSync(output)
}

async function otherWays(
  t: Test,
  input: string,
  expected: Buffer,
  name: RecipeText,
  options: Omit<Choices, 'recipe'> & { recordBytes: number | undefined; highWaterMark: number | undefined },
): Promise<void> {
  const folder = t.testdirName
  const output = join(folder, 'again.gguf')
  const job = { ...options, recipe: name, mode: 'stream' } as const
  const ways: Record<string, () => Promise<unknown>> = {
    stream: () => quantize(input, output, job),
    async pipeline() {
      const { recordBytes, highWaterMark, ...choices } = options
      await run([ggufReader(input, { recordBytes, highWaterMark }), recipe(name, choices), ggufWriter(output)])
    },
    async 'broken off and resumed'() {
      for (const share of [0.3, 0.7]) await brokenOff(t, input, output, share, job)
      await quantize(input, output, { ...job, resume: true })
    },
    async 'split and joined'() {
      const parts = join(folder, 'parts')
      mkdirSync(parts)
      const splitMaxBytes = Math.ceil(expected.length / 3) + 200_000
      const { files } = await quantize(input, join(parts, 'p.gguf'), { ...job, splitMaxBytes })
      await convert(join(parts, files[0]?.name ?? ''), output)
      rmSync(parts, { recursive: true })
    },
  }
  for (const [way, make] of Object.entries(ways)) {
    await make()
    sameBytes(t, readFileSync(output), expected, way)
    rmSync(output)
  }
}

/** Runs the job until a share of it is done. */
async function brokenOff(
  t: Test,
  input: string,
  output: string,
  share: number,
  options: QuantizeOptions,
): Promise<void> {
  const controller = new AbortController()
  const job = quantize(input, output, {
    ...options,
    resume: true,
    signal: controller.signal,
    onProgress({ phase, bytes, totalBytes }) {
      if (phase === 'quantizing' && bytes >= share * totalBytes) controller.abort()
    },
  })
  await t.rejects(job, { name: 'AbortError' })
}
