import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { test } from 'tap'
import { cli } from '../helpers/command.js'
import { arbitraryTensor, fixture, modelBytes, SAMPLE } from '../helpers/files.js'

const GGUF = 'test/fixtures/hf/small/gguf/tiny-llama-f32.convert.gguf'

type Fields = Record<string, unknown>

/** A model with a value that cannot be quantized. */
function brokenModel(folder: string): string {
  const tensor = arbitraryTensor('w', 'F32', [4, 300])
  Buffer.from(tensor.bytes.buffer, tensor.bytes.byteOffset).writeFloatLE(NaN, 4 * 777)
  writeFileSync(join(folder, 'nan.apr'), modelBytes({ tensors: [tensor] }))
  return join(folder, 'nan.apr')
}

/** What each command prints with --json, with the name of its type. */
async function printed(folder: string): Promise<[type: string, json: Fields][]> {
  const output = join(folder, 'out.apr')
  const nan = brokenModel(folder)
  const bad = join(folder, 'bad.apr')
  const bytes = readFileSync(SAMPLE)
  writeFileSync(bad, Buffer.concat([bytes.subarray(0, -4), Buffer.alloc(4)]))
  const commands: [string, string[]][] = [
    ['QuantizeJson', ['quantize', SAMPLE, '-o', output]],
    ['PlanJson', ['quantize', SAMPLE, '-o', output, '--plan']],
    ['InspectJson', ['inspect', fixture('every-dtype.apr')]],
    ['VerifyJson', ['verify', SAMPLE]],
    ['VerifyJson', ['verify', bad]],
    ['ErrorJson', ['quantize', nan]],
    ['ErrorJson', ['inspect', join(folder, 'missing.apr')]],
    ['ConvertJson', ['convert', GGUF, '-o', join(folder, 'out.gguf')]],
    ['ConversionPlanJson', ['convert', GGUF, '-o', join(folder, 'out.gguf'), '--plan']],
    ['ImatrixJson', ['imatrix', GGUF, '-o', join(folder, 'imatrix.gguf')]],
    ['CompareJson', ['compare', GGUF, GGUF]],
  ]
  const results = await Promise.all(commands.map(([, args]) => cli([...args, '--json'])))
  const job = join(folder, 'job.json')
  const inOrder: [string, string[]][] = [
    ['PartsPlanJson', ['plan', SAMPLE, '-o', join(folder, 'parts.apr'), '--save', job, '--block-size', '64KiB']],
    ['PartJson', ['part', job, '--unit', '0']],
    ['FinishJson', ['finish', job]],
    ['AbortJson', ['abort', job]],
  ]
  for (const [, args] of inOrder) results.push(await cli([...args, '--json']))
  return [...commands, ...inOrder].map(([type], i) => [type, JSON.parse(results[i]?.stdout ?? '') as Fields])
}

/** The fields that a table of docs/cli.md lists: the first one behind `heading`. */
function documented(heading: string): string[] {
  const docs = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')
  const lines = docs.slice(docs.indexOf(heading) + heading.length).split('\n')
  const start = lines.findIndex((line) => /^\| (JSON )?field /.test(line)) + 2
  const rows = lines.slice(start, lines.indexOf('', start))
  return rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, field = '']) => field))
}

void test('every JSON output has a schemaVersion, and the fields that docs/cli.md lists', async (t) => {
  const outputs = await printed(t.testdir())
  for (const [type, json] of outputs) t.equal(json['schemaVersion'], 1, type)
  const fieldsOf = (index: number): string[] => Object.keys(outputs[index]?.[1] ?? {})
  const optional = ['restartReason', 'error', 'choice', 'importance']
  const cases: [string, string[]][] = [
    ['With `--json`, the report:', fieldsOf(0)],
    ['With `--plan --json`, the plan:', fieldsOf(1)],
    ['## inspect', fieldsOf(2)],
    ['With `convert --json`, the report:', fieldsOf(7)],
    ['With `convert --plan --json`, the plan:', fieldsOf(8)],
    ['## imatrix', fieldsOf(9)],
    ['## compare', fieldsOf(10)],
    ['## verify', fieldsOf(3)],
    ['With `plan --save --json`:', fieldsOf(11)],
    ['With `part --json`:', fieldsOf(12)],
    ['With `finish --json`:', fieldsOf(13)],
    ['With `abort --json`:', fieldsOf(14)],
  ]
  for (const [heading, found] of cases) {
    const expected = documented(heading).filter((field) => !optional.includes(field))
    t.same([...found].sort(), expected.sort(), heading)
  }
  t.ok(fieldsOf(4).includes('error'), 'a bad file has the error')
  const errorFields = documented('## Errors as JSON')
  for (const index of [5, 6]) {
    const { error } = outputs[index]?.[1] as { error: Fields }
    t.same(
      Object.keys(error).filter((field) => !errorFields.includes(field)),
      [],
    )
  }
})

void test('what is printed is what the published types say', async (t) => {
  const outputs = await printed(t.testdir())
  const types = [...new Set(outputs.map(([type]) => type))].join(', ')
  const lines = outputs.map(([type, json], i) => `export const output${i}: ${type} = ${JSON.stringify(json)}`)
  const fails = [
    '// @ts-expect-error: there is no other version',
    'export const other: VerifyJson["schemaVersion"] = 2',
    '// @ts-expect-error: nor such a field',
    'export const more: ErrorJson = { schemaVersion: 1, error: { message: "" }, more: 1 }',
  ]
  const source = [`import type { ${types} } from 'apr-stream'`, ...lines, ...fails].join('\n')
  t.same(compile(source), [])
})

/** Errors of a program, compiled as a module of this package. */
function compile(source: string): string[] {
  const name = fileURLToPath(new URL('printed-json.ts', import.meta.url))
  const options: ts.CompilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: ['node'] },
    ...{ target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext },
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
  }
  const host = ts.createCompilerHost(options)
  const fileExists = host.fileExists.bind(host)
  const getSourceFile = host.getSourceFile.bind(host)
  host.fileExists = (path) => path === name || fileExists(path)
  host.getSourceFile = (path, ...rest) =>
    path === name ? ts.createSourceFile(name, source, ts.ScriptTarget.ES2022) : getSourceFile(path, ...rest)
  const program = ts.createProgram([name], options, host)
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}
