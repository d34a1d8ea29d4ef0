/** The package as it is installed: what is in it, what it loads, and that README's programs and commands work with it. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test, type Test } from 'tap'
import { PLAIN_ENVIRONMENT } from '../helpers/faults.js'
import { SAMPLE } from '../helpers/files.js'
import { COMMANDS, installPackage, ROOT } from '../helpers/installed.js'

const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const FIXTURES = join(ROOT, 'test/fixtures/hf/small')
const blocksOf = (language: string): string[] =>
  [...README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text)

/** A project with the package and the sample model. */
function makeProject(t: Test): string {
  const project = installPackage(t)
  mkdirSync(join(project, 'node_modules/.bin'))
  symlinkSync('../apr-stream/dist/cli.js', join(project, 'node_modules/.bin/apr-stream'))
  copyFileSync(SAMPLE, join(project, 'model.apr'))
  return project
}

function run(project: string, command: string, ...args: string[]): string {
  const path = [join(project, 'node_modules/.bin'), COMMANDS, process.env['PATH'] ?? ''].join(delimiter)
  const env = { ...PLAIN_ENVIRONMENT, PATH: path }
  return execFileSync(command, args, { cwd: project, encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Packages of node_modules that modules of apr-stream import when `program` runs. */
function importsOf(project: string, program: string, ...args: string[]): string[] {
  const hooks = `
    import { appendFileSync } from 'node:fs'
    export async function resolve(specifier, context, next) {
      if (context.parentURL?.includes('/apr-stream/dist/') && !/^(node:|[./])/.test(specifier)) {
        appendFileSync('imports.txt', specifier + '\\n')
      }
      return next(specifier, context)
    }`
  const register = `
    import { register } from 'node:module'
    register('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(hooks))})`
  const log = join(project, 'imports.txt')
  writeFileSync(log, '')
  run(project, process.execPath, '--import', `data:text/javascript,${encodeURIComponent(register)}`, program, ...args)
  const lines = readFileSync(log, 'utf8').trim().split('\n')
  rmSync(log)
  return [...new Set(lines)].sort()
}

void test('the installed package', (t) => {
  const project = makeProject(t)
  const root = join(project, 'node_modules/apr-stream')

  void t.test('holds what it needs to run, and names no file that it does not hold', (t) => {
    const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => /\.\w+$/.test(path))
    const extra = files.filter((path) => !/^dist.*\.(js|d\.ts)$/.test(path))
    t.same(extra.sort(), ['CHANGELOG.md', 'README.md', 'SECURITY.md', 'package.json'])
    const withMaps = files.filter((path) => readFileSync(join(root, path), 'utf8').includes('sourceMappingURL'))
    t.same(withMaps, [], 'no source map is named that is not there')
    const { bugs, homepage, repository } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Partial<
      Record<string, unknown>
    >
    t.same({ bugs, homepage, repository }, {}, 'no public place is claimed')
    t.end()
  })

  void t.test('tells its version', (t) => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    t.equal(run(project, 'apr-stream', '--version').trim(), version)
    t.end()
  })

  void t.test('runs every program of README, and every command', (t) => {
    for (const name of ['Qwen3-MoE', 'Qwen3-30B-A3B']) {
      cpSync(join(FIXTURES, 'models/golden-qwen3moe-4x64'), join(project, name), { recursive: true })
    }
    cpSync(join(FIXTURES, 'gguf/qwen3moe-stacked.convert.gguf'), join(project, 'model.gguf'))
    for (const program of blocksOf('js')) {
      writeFileSync(join(project, 'program.js'), program)
      rmSync(join(project, 'model.q4k.apr'), { force: true })
      t.doesNotThrow(() => run(project, process.execPath, 'program.js'))
    }
    const commands = blocksOf('sh')
      .flatMap((block) => block.split('\n'))
      .filter((line) => line.startsWith('apr-stream'))
    t.ok(commands.length >= 8)
    for (const command of commands) {
      if (command.startsWith('apr-stream quantize') && !command.includes(' -o '))
        rmSync(join(project, 'model.q4k.apr'), { force: true })
      // The tokenizer of this small model is none that is known.
      const given = command.replace('Qwen3-30B-A3B/', '$& --pre qwen2')
      t.doesNotThrow(() => run(project, 'bash', '-c', given), given)
    }
    t.end()
  })

  void t.test('has types for TypeScript, as an ES module, as CommonJS and for bundlers', (t) => {
    symlinkSync(join(ROOT, 'node_modules/@types'), join(project, 'node_modules/@types'))
    const program = `
      import { pipeline } from 'node:stream/promises'
      import { aprReader, aprWriter, q4k, quantize, type QuantizeReport, type TensorRecord } from 'apr-stream'

      async function* pass(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
        for await (const record of records) yield record
      }

      export async function main(): Promise<QuantizeReport> {
        await pipeline(aprReader('model.apr'), pass, q4k({ fit: 'minmax' }), aprWriter('out.apr'))
        // @ts-expect-error: no such fit
        q4k({ fit: 'best' })
        return quantize('model.apr', 'model.q4k.apr', { threads: 1 })
      }`
    for (const name of ['program.ts', 'program.mts', 'program.cts']) writeFileSync(join(project, name), program)
    const options = ['--strict', '--noEmit', '--target', 'es2022', '--lib', 'es2023', '--types', 'node']
    t.doesNotThrow(() => run(project, 'tsc', ...options, '--module', 'nodenext', 'program.mts', 'program.cts'))
    t.doesNotThrow(() =>
      run(project, 'tsc', ...options, '--module', 'esnext', '--moduleResolution', 'bundler', 'program.ts'),
    )
    t.end()
  })

  void t.test('loads no more of its dependencies than docs/dependencies.md says', (t) => {
    writeFileSync(join(project, 'import.js'), `import 'apr-stream'`)
    t.same(importsOf(project, 'import.js'), ['fs-extra', 'streamx'])
    const cli = join(root, 'dist/cli.js')
    t.same(importsOf(project, cli, 'inspect', 'model.apr'), ['commander', 'fs-extra', 'streamx'])
    const quantize = ['quantize', 'model.apr', '--force', '--quiet']
    const always = ['cli-progress', 'commander', 'fs-extra', 'streamx']
    t.same(importsOf(project, cli, ...quantize), always)
    t.same(importsOf(project, cli, ...quantize, '--skip', '*.bias'), [...always, 'minimatch'].sort())
    const [bare, withCard] = ['golden-qwen3moe-4x64', 'Golden-Llama-3.2-Instruct'].map((name) => {
      const folder = join(FIXTURES, 'models', name)
      return importsOf(project, cli, 'convert', folder, '--pre', 'llama-bpe', '--plan', '-o', 'plan.gguf')
    })
    t.notOk(bare?.includes('yaml'), 'nothing reads YAML')
    t.ok(withCard?.includes('yaml'), 'but a model card')
    t.end()
  })
  t.end()
})
