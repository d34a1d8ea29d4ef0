/** Room on the disk, worker threads that die, and what many jobs in one process hold. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { test, type Test } from 'tap'
import { plan, quantize } from 'apr-stream'
import { filesIn, SAMPLE } from '../helpers/files.js'
import { callsOf, holdings, PLAIN_ENVIRONMENT, largeModel, spawnCli, unhandledIn } from '../helpers/faults.js'
import { soak } from '../long/soak-jobs.js'

const ROOM_BYTES = 4 * 1024 * 1024

/** A real file system of a few MB; undefined where this process may not mount one. */
function mountSmallDisk(t: Test): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined
  const disk = mkdtempSync(join(tmpdir(), 'apr-stream-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${ROOM_BYTES}`, 'tmpfs', disk])
  t.teardown(() => {
    if (status === 0) spawnSync('umount', [disk])
    rmdirSync(disk)
  })
  return status === 0 ? disk : undefined
}

void test('an output for which there is no room is refused before anything is written, or fails and leaves nothing', async (t) => {
  const disk = mountSmallDisk(t)
  if (disk === undefined) {
    t.comment('skipped: only root can mount a file system of its own')
    return
  }
  const input = join(t.testdir(), 'in.apr')
  writeFileSync(input, largeModel(10_000_000))
  const output = join(disk, 'out.apr')
  const { outputBytes, freeBytes } = await plan(input, { output })
  t.equal(freeBytes, ROOM_BYTES)
  const refused = {
    code: 'APR_NO_SPACE',
    message: new RegExp(`expected ${outputBytes} bytes free on the output's disk, found ${ROOM_BYTES}`),
    file: output,
  }
  for (const mode of ['stream', 'memory'] as const) {
    const calls = await callsOf(() => t.rejects(quantize(input, output, { mode, overwrite: true }), refused))
    t.notOk(
      calls.some(({ name }) => ['write', 'link', 'rename'].includes(name)),
      'nothing was written',
    )
    await t.rejects(quantize(input, output, { mode, spaceCheck: false }), { code: 'ENOSPC', path: `${output}.partial` })
    t.same(filesIn(disk), [], `${mode}: nothing is left`)
  }
  const forced = await spawnCli(['quantize', input, '-o', output, '--force']).ended
  t.equal(forced.status, 1, 'force replaces a file, and finds no room')
  t.match(forced.stderr, `expected ${outputBytes} bytes free`)
  const unchecked = await spawnCli(['quantize', input, '-o', output, '--no-space-check']).ended
  t.equal(unchecked.status, 1)
  t.match(unchecked.stderr, /ENOSPC.*out\.apr\.partial/)
  t.same(filesIn(disk), [])

  // What an earlier run has left counts as room for the one that goes on with it.
  await t.rejects(quantize(input, output, { mode: 'stream', spaceCheck: false, resume: true }), { code: 'ENOSPC' })
  t.same(filesIn(disk), ['out.apr.partial', 'out.apr.partial.journal'])
  spawnSync('mount', ['-o', `remount,size=${outputBytes + 65536}`, disk])
  const report = await quantize(input, output, { mode: 'stream', resume: true })
  t.ok(report.resumedTensors > 0, `${report.resumedTensors} tensors were there`)
  t.same(filesIn(disk), ['out.apr'])
  t.equal(readFileSync(output).length, outputBytes)
})

void test('the room that counts is that of the disk to which a link at the output leads', async (t) => {
  const disk = mountSmallDisk(t)
  if (disk === undefined) {
    t.comment('skipped: only root can mount a file system of its own')
    return
  }
  const folder = t.testdir()
  const input = join(folder, 'in.apr')
  writeFileSync(input, largeModel(10_000_000))
  writeFileSync(join(disk, 'small.apr'), 'old')
  writeFileSync(join(folder, 'large.apr'), 'old')
  const [toSmall, toLarge] = [join(folder, 'link.apr'), join(disk, 'link.apr')]
  symlinkSync(join(disk, 'small.apr'), toSmall)
  symlinkSync(join(folder, 'large.apr'), toLarge)

  const { freeBytes = 0, outputBytes } = await plan(input, { output: toSmall })
  t.ok(freeBytes <= ROOM_BYTES, `the plan finds ${freeBytes} bytes`)
  for (const mode of ['stream', 'memory'] as const) {
    await t.rejects(quantize(input, toSmall, { mode, overwrite: true }), { code: 'APR_NO_SPACE', file: toSmall }, mode)
  }
  t.same(filesIn(disk), ['link.apr', 'small.apr'])
  t.equal(readFileSync(toSmall, 'utf8'), 'old')

  t.ok(((await plan(input, { output: toLarge })).freeBytes ?? 0) > ROOM_BYTES)
  for (const mode of ['stream', 'memory'] as const) await quantize(input, toLarge, { mode, overwrite: true })
  t.equal(readFileSync(join(folder, 'large.apr')).length, outputBytes)
})

const START = '(task) => {'

/** How the program of the worker threads is changed, and what the message then says. */
const POISONS: Record<string, { change: (program: string) => string; message: RegExp }> = {
  'throws when it starts': { change: (program) => `throw new Error('poison')\n${program}`, message: /poison/ },
  'ends when it starts': { change: (program) => `process.exit(3)\n${program}`, message: /it ended|code: 3/ },
  'throws at its work': {
    change: (program) => program.replace(START, `${START} throw new Error('poison')`),
    message: /poison/,
  },
  'ends at its third piece of work': {
    change: (program) => `let count = 0\n${program.replace(START, `${START} if (++count === 3) process.exit(3)`)}`,
    message: /it ended|code: 3/,
  },
  'runs out of memory': {
    change: (program) => `const all = []; for (;;) all.push(new Array(1e5).fill({}))\n${program}`,
    message: /memory/,
  },
}

for (const [what, { change, message }] of Object.entries(POISONS)) {
  void test(`a worker thread that ${what} is the error of the job, which names the tensor`, (t) => {
    const folder = t.testdir({ package: {}, out: {} })
    const root = fileURLToPath(new URL('../..', import.meta.url))
    cpSync(join(root, 'dist'), join(folder, 'package/dist'), { recursive: true })
    cpSync(join(root, 'package.json'), join(folder, 'package/package.json'))
    symlinkSync(join(root, 'node_modules'), join(folder, 'package/node_modules'))
    const worker = join(folder, 'package/dist/threads/worker-source.js')
    // A module with the program as its one text.
    const module = readFileSync(worker, 'utf8')
    const text = module.slice(module.indexOf('"'))
    const before = JSON.parse(text) as string
    t.not(change(before), before)
    writeFileSync(
      worker,
      module.replace(text, () => JSON.stringify(change(before))),
    )
    const input = join(folder, 'in.apr')
    writeFileSync(input, largeModel(20_000_000, 'F16', 4))
    const program = `
      import { readdirSync, readlinkSync } from 'node:fs'
      import { quantize } from ${JSON.stringify(pathToFileURL(join(folder, 'package/dist/index.js')).href)}
      const linkOf = (name) => { try { return readlinkSync('/proc/self/fd/' + name) } catch { return '' } }
      const files = () => readdirSync('/proc/self/fd').map(linkOf).filter((path) => path.includes('.apr'))
      const held = () => files().length + readdirSync('/proc/self/task').length
      process.on('unhandledRejection', (error) => console.log('unhandled', error))
      // What the first job opens for good is Node's own.
      console.log('{}')
      await quantize(${JSON.stringify(SAMPLE)}, ${JSON.stringify(join(folder, 'first.apr'))})
      const before = held()
      for (const mode of ['stream', 'memory']) {
        try {
          await quantize(${JSON.stringify(input)}, ${JSON.stringify(join(folder, 'out/out.apr'))}, { mode, threads: 2 })
          console.log('{}')
        } catch ({ code, message, tensor }) {
          console.log(JSON.stringify({ code, message, tensor }))
        }
      }
      // The end of a thread takes a moment.
      for (let waits = 0; waits < 300 && held() > before; waits++) await new Promise((done) => setTimeout(done, 10))
      console.log(JSON.stringify({ more: held() - before }))`
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--max-old-space-size=96', '--input-type=module', '-e', program],
      { encoding: 'utf8', timeout: 60_000, env: PLAIN_ENVIRONMENT },
    )
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line || '{}') as Record<string, unknown>)
    t.equal(lines.length, 4, stderr)
    for (const error of lines.slice(1, 3))
      t.match(error, { code: 'APR_WORKER', tensor: /^\d\.(weight|bias)$/, message })
    t.same(lines[3], { more: 0 }, 'no file and no thread is held')
    t.same(filesIn(join(folder, 'out')), [], 'nothing is left')
    t.end()
  })
}

void test('many jobs in one process, some of them aborted, hold nothing in the end', async (t) => {
  const { before, after } = await soak(t.testdir(), 50, false)
  t.equal(after.descriptors, before.descriptors, `${after.descriptors} descriptors`)
  t.ok(after.threads <= before.threads, `${after.threads} threads`)
  // Without a collection of garbage on demand this can only find the worst.
  t.ok(after.residentBytes < before.residentBytes + 128 * 1024 * 1024)
})

void test('many jobs at once in one process write what one does', async (t) => {
  const folder = t.testdir()
  const unhandled = await unhandledIn(async () => {
    const held = holdings()
    const jobs = Array.from({ length: 40 }, (_, i) =>
      quantize(SAMPLE, join(folder, `${i}.apr`), { mode: i % 2 === 0 ? 'stream' : 'memory' }),
    )
    await Promise.all(jobs)
    t.equal(holdings().descriptors, held.descriptors)
  })
  t.same(unhandled, [])
  const first = readFileSync(join(folder, '0.apr'))
  t.ok(filesIn(folder).every((name) => readFileSync(join(folder, name)).equals(first)))
  t.equal(filesIn(folder).length, 40)
})
