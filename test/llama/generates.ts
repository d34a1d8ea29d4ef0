/**
 * Models that this package converts run in llama.cpp: each generates the ids that llama.cpp generates with the file that its
 * own converter makes. Not among the usual tests, for it fetches a package of 90 MB:
 * `npx tap test/llama/generates.ts --timeout=900`. Where that cannot be had the check is skipped, and says so.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'tap'
import { convert, quantize } from 'apr-stream'
import { TINY, writeTiny } from '../helpers/tiny-hf.js'
import { goldenExpected, goldenFolder, goldenModels } from '../helpers/golden-hf.js'

const PACKAGES = ['node-llama-cpp@3.22.1', '@node-llama-cpp/linux-x64@3.22.1']
const HOME = join(tmpdir(), 'apr-stream-llama-3.22.1')

/** Every block type is in a file of one of them. */
const RECIPES = ['Q4_K_M', 'Q2_K', 'Q5_K_S', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL', 'IQ4_XS'] as const

/** What is used of the package. */
interface Sequence {
  evaluate(tokens: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncIterable<number>
}
interface Context {
  getSequence(): Sequence
  dispose(): Promise<void>
}
interface LlamaModel {
  createContext(options: { contextSize: number; threads: number; flashAttention: boolean }): Promise<Context>
  dispose(): Promise<void>
}
interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>
  dispose(): Promise<void>
}
interface LlamaPackage {
  getLlama(options: { gpu: false; build: 'never'; skipDownload: true }): Promise<Llama>
}

/** The package, from a folder of its own; or why there is none. */
async function llamaOrWhyNot(): Promise<Llama | string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'there is no prebuilt llama.cpp for this platform'
  try {
    mkdirSync(HOME, { recursive: true })
    writeFileSync(join(HOME, 'package.json'), '{"private":true}')
    const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--prefer-offline']
    execFileSync('npm', ['install', ...PACKAGES, ...flags], { cwd: HOME, stdio: 'pipe' })
    const entry = pathToFileURL(join(HOME, 'node_modules/node-llama-cpp/dist/index.js')).href
    const found = (await import(entry)) as LlamaPackage
    return await found.getLlama({ gpu: false, build: 'never', skipDownload: true })
  } catch (error) {
    return `llama.cpp cannot be had: ${(error as Error).message.split('\n')[0] ?? ''}`
  }
}

/** The ids that follow the prompt, the likeliest each time. */
async function generate(llama: Llama, modelPath: string, prompt: number[], count: number): Promise<number[]> {
  const model = await llama.loadModel({ modelPath })
  try {
    const context = await model.createContext({ contextSize: 256, threads: 1, flashAttention: false })
    const ids: number[] = []
    for await (const id of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      ids.push(id)
      if (ids.length === count) break
    }
    await context.dispose()
    return ids
  } finally {
    await model.dispose()
  }
}

void test('converted models generate in llama.cpp what those of its own converter generate', async (t) => {
  const llama = await llamaOrWhyNot()
  if (typeof llama === 'string') {
    void t.test({ name: 'llama.cpp', skip: llama }, (skipped) => skipped.end())
    return
  }
  const folder = t.testdir()
  for (const name of goldenModels()) {
    const { pre, prompt, convert: expected } = await goldenExpected(name)
    const output = join(folder, `${name}.gguf`)
    await convert(goldenFolder(name), output, { pre })
    const { ids, sameOnAllThreeCpuBuilds } = expected.greedy
    const found = await generate(llama, output, prompt, ids.length)
    // Where two ids are nearly as likely the processor decides.
    if (sameOnAllThreeCpuBuilds) t.same(found, ids, name)
    else t.equal(found.length, ids.length, name)
  }
  await llama.dispose()
})

void test('models that were quantized on the way load in llama.cpp, and generate', async (t) => {
  const llama = await llamaOrWhyNot()
  if (typeof llama === 'string') {
    void t.test({ name: 'llama.cpp', skip: llama }, (skipped) => skipped.end())
    return
  }
  const folder = t.testdir()
  for (const name of goldenModels()) {
    const { pre, prompt } = await goldenExpected(name)
    for (const recipe of [undefined, ...RECIPES]) {
      const output = join(folder, `${name}.${recipe ?? 'q4k'}.gguf`)
      await quantize(goldenFolder(name), output, { pre, recipe })
      t.equal((await generate(llama, output, prompt, 8)).length, 8, `${name}, ${recipe ?? 'q4k'}`)
    }
    const output = join(folder, `${name}.sized.gguf`)
    await quantize(goldenFolder(name), output, { pre, bitsPerWeight: 8, importance: 'moments' })
    t.equal((await generate(llama, output, prompt, 8)).length, 8, `${name}, dtypes by their errors and moments`)
  }
  await llama.dispose()
})

void test('models of the other architectures load in llama.cpp, and generate', async (t) => {
  const llama = await llamaOrWhyNot()
  if (typeof llama === 'string') {
    void t.test({ name: 'llama.cpp', skip: llama }, (skipped) => skipped.end())
    return
  }
  const folder = t.testdir()
  // Of DeepSeek V3 without `q_lora_rank` llama.cpp refuses what its own converter makes.
  for (const name of Object.keys(TINY).filter((tiny) => tiny !== 'tiny-deepseek-tied')) {
    const output = join(folder, `${name}.gguf`)
    const input = await writeTiny(name, folder)
    for (const recipe of [undefined, 'Q4_K_M', 'Q8_0'] as const) {
      if (recipe === undefined) await convert(input, output, { pre: 'qwen2' })
      else await quantize(input, output, { pre: 'qwen2', recipe, overwrite: true })
      const found = await generate(llama, output, [10, 20, 30, 40, 50], 8).catch((error: unknown) => String(error))
      t.equal(found.length, 8, `${name}, ${recipe ?? 'converted'}: ${String(found)}`)
    }
  }
  await llama.dispose()
})
