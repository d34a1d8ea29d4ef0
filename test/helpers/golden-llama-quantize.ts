/** Command lines of llama-quantize, and the files that it writes: the golden ones run through the drop-in. */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { convert } from 'apr-stream'
import { runLlamaQuantize } from '../../dist/cli/llama-quantize/command.js'
import { openInput } from '../../dist/streams/open-input.js'
import { FORMATS } from '../../dist/formats/formats.js'
import { layoutFiles } from './layout-files.js'

const ROOT = resolve('test/fixtures/hf/small')

/** What a command line gives: files, or where the reference refuses it nothing. */
export interface GoldenCommand {
  readonly name: string
  readonly args: readonly string[]
  /** SHA-256 of each file, by name; undefined: refused. */
  readonly files: Readonly<Record<string, string>> | undefined
}

interface Entry {
  readonly command: string
  readonly sha256?: string
}

interface Expected {
  readonly pre: string
  readonly quantize: Readonly<Record<string, Entry>>
  readonly split: Readonly<
    Record<string, { oracle: string; sha256?: string; files?: readonly { name: string; sha256: string }[] }>
  >
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** All command lines of a model. */
export function goldenCommands(model: string): GoldenCommand[] {
  const { quantize, split } = readJson(join(ROOT, 'expected', `${model}.json`)) as Expected
  const edges = join(ROOT, `expected-edge-imatrix.${model}.json`)
  const edge = readdirSync(ROOT).includes(`expected-edge-imatrix.${model}.json`)
    ? (readJson(edges) as Record<string, { sha256?: string }>)
    : {}
  const single = (name: string, command: string, hash?: string): GoldenCommand => {
    return { name, args: argsOf(command), files: hash === undefined ? undefined : { 'out.gguf': hash } }
  }
  return [
    ...Object.entries(quantize).map(([name, { command, sha256 }]) => single(name, command, sha256)),
    ...Object.entries(edge).map(([command, { sha256 }]) => single(command, command, sha256)),
    ...Object.entries(split).flatMap(([name, { oracle, sha256, files }]) => {
      if (!oracle.startsWith('llama-quantize ')) return []
      const parts = files && Object.fromEntries(files.map((file) => [file.name, file.sha256]))
      return [{ name, args: argsOf(oracle), files: parts ?? { 'out.gguf': sha256 ?? '' } }]
    }),
  ]
}

function argsOf(command: string): string[] {
  return command.split(' ').slice(1)
}

/** Makes what the command lines of a model speak of, in a folder, and works there meanwhile. */
export async function inGoldenFolder(parent: string, model: string, work: () => Promise<void>): Promise<void> {
  const folder = join(parent, 'work')
  mkdirSync(folder)
  const { pre } = readJson(join(ROOT, 'expected', `${model}.json`)) as Expected
  await convert(join(ROOT, 'models', model), join(folder, 'model.gguf'), { pre })
  const opened = await openInput(join(folder, 'model.gguf'), FORMATS.gguf)
  const parts = await layoutFiles(FORMATS.gguf, opened, { name: 'split.gguf', maxFileTensors: 9 })
  await opened.input.close()
  for (const [name, bytes] of parts) writeFileSync(join(folder, name), bytes)
  const matrices = join(ROOT, 'imatrix', model)
  for (const name of readdirSync(matrices)) writeFileSync(join(folder, name), readFileSync(join(matrices, name)))
  // The paths in the command lines are written into the files.
  const before = process.cwd()
  process.chdir(folder)
  try {
    await runLlamaQuantize(['model.gguf', 'Q8_0.gguf', 'Q8_0'])
    await work()
  } finally {
    process.chdir(before)
  }
}

/**
 * Runs a command line in the folder.
 * @returns SHA-256 of each file that it has written, by name
 * @throws where it is refused
 */
export async function runGolden({ args }: GoldenCommand): Promise<Record<string, string>> {
  const before = new Set(readdirSync('.'))
  try {
    await runLlamaQuantize(args)
    const made = readdirSync('.').filter((name) => !before.has(name))
    return Object.fromEntries(made.sort().map((name) => [name, sha256(readFileSync(name))]))
  } finally {
    for (const name of readdirSync('.')) if (!before.has(name)) rmSync(name)
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
