/** docs/bundling.md, run: its files are written, its commands executed, and what they make quantizes as the package does. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { test, type Test } from 'tap'
import { quantize } from 'apr-stream'
import { largeModel, PLAIN_ENVIRONMENT } from '../helpers/faults.js'
import { COMMANDS, emptyFolder, installPackage, ROOT } from '../helpers/installed.js'

/** Enough for two threads. */
const ELEMENTS = 9_000_000
const THREADS = 2

/** Says at the end of a program, and of each thread that imports it, how many threads were started there. */
const COUNT_THREADS = `data:text/javascript,${encodeURIComponent(`
  let count = 0
  process.on('worker', () => count++)
  process.on('exit', () => console.log(count + ' threads'))`)}`

interface Block {
  readonly language: string
  /** Name of the file; undefined where the block is none. */
  readonly file: string | undefined
  readonly text: string
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, 'docs', page), 'utf8')
  return [...text.matchAll(/^```(\w+)(?: (\S+))?\n(.*?)^```/gms)].map(([, language = '', file, code = '']) => ({
    language,
    file,
    text: code,
  }))
}

const blocks = blocksOf('bundling.md')

/** A project with the files of the page, the bundlers, and the model `in.apr`. */
function makeProject(t: Test): string {
  const project = installPackage(t)
  symlinkSync(join(ROOT, 'node_modules/@rollup'), join(project, 'node_modules/@rollup'))
  for (const { file, text } of blocks) if (file !== undefined) writeFileSync(join(project, file), text)
  writeFileSync(join(project, 'in.apr'), largeModel(ELEMENTS, 'F16', 4))
  return project
}

void test('the package works bundled, from CommonJS and from a worker thread: the same bytes, by as many threads', async (t) => {
  const project = makeProject(t)
  const input = join(project, 'in.apr')
  await quantize(input, join(project, 'expected.apr'), { threads: THREADS })
  const expected = readFileSync(join(project, 'expected.apr'))

  const check = (folder: string, program: string, what: string): void => {
    const output = join(folder, `${program}.apr`)
    const args = ['--no-warnings', '--import', COUNT_THREADS, program, input, output]
    const printed = execFileSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: PLAIN_ENVIRONMENT })
    t.match(printed, /^4 tensors quantized$/m, what)
    const counts = printed.match(/^[1-9]\d*(?= threads$)/gm) ?? []
    t.equal(counts.length, program === 'thread.js' ? 2 : 1, `${what}: threads were started`)
    t.ok(readFileSync(output).equals(expected), `${what}: all bytes are the same`)
    rmSync(output)
  }

  const commands = blocks.filter(({ language }) => language === 'sh').flatMap(({ text }) => text.trim().split('\n'))
  t.ok(commands.length >= 5, `${commands.length} commands`)
  for (const command of commands) {
    rmSync(join(project, 'dist'), { recursive: true, force: true })
    execFileSync('bash', ['-c', command.replace(/^npx /, '')], {
      cwd: project,
      env: { ...PLAIN_ENVIRONMENT, PATH: `${COMMANDS}${delimiter}${process.env['PATH'] ?? ''}` },
      stdio: 'pipe',
    })
    const made = readdirSync(join(project, 'dist'))
    t.equal(made.length, 1, `one file: ${made.join()}`)
    const [program = ''] = made
    const isWhole = program.startsWith('program')
    const folder = isWhole ? emptyFolder(t) : project
    copyFileSync(join(project, 'dist', program), join(folder, program))
    check(folder, program, command)
  }

  const canRequire = (process.features as { require_module?: boolean }).require_module === true
  const programs = ['program.js', 'import.cjs', 'thread.js', ...(canRequire ? ['require.cjs'] : [])]
  for (const program of programs) check(project, program, program)
})
