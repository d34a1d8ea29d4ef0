/** Whose an output is, and who may read it. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { aprReader, aprWriter, q4k, quantize, type ByteSource, type TensorRecord } from 'apr-stream'
import { filesIn, MemorySource, run, SAMPLE } from '../helpers/files.js'
import { intercept, PLAIN_ENVIRONMENT } from '../helpers/faults.js'

type Job = (input: string | ByteSource, output: string, overwrite: boolean) => Promise<unknown>

const JOBS: Record<string, Job> = {
  stream: (input, output, overwrite) => quantize(input, output, { mode: 'stream', fit: 'minmax', overwrite }),
  memory: (input, output, overwrite) => quantize(input, output, { mode: 'memory', fit: 'minmax', overwrite }),
  pipeline: (input, output, overwrite) =>
    run([aprReader(input), q4k({ fit: 'minmax' }), aprWriter(output, { overwrite })]),
  copy: (input, output, overwrite) => run([aprReader(input), aprWriter(output, { overwrite })]),
  'pipeline that moves its data': (input, output, overwrite) =>
    run([aprReader(input), dropBiases, aprWriter(output, { overwrite })]),
}

async function* dropBiases(records: AsyncIterable<TensorRecord>): AsyncGenerator<TensorRecord> {
  for await (const record of records) if (!record.name.includes('bias')) yield record
}

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8).padStart(3, '0')
const isPosix = process.platform !== 'win32'
const isRoot = process.getuid?.() === 0
/** What a new file gets here, without more ado. */
const usual = (): number => {
  const path = join(tmpdir(), `apr-stream-${process.pid}`)
  writeFileSync(path, '')
  const { mode } = statSync(path)
  rmSync(path)
  return mode & 0o777
}

/** Runs a job, and notes the permissions that its partial files have had at any call. */
async function partialModes(output: string, job: () => Promise<unknown>): Promise<Set<string>> {
  const modes = new Set<string>()
  await intercept(async ({ name }, perform) => {
    const result = await perform()
    for (const path of [`${output}.partial`, `${output}.moved.partial`]) {
      if (name !== 'remove' && existsSync(path)) modes.add(modeOf(path))
    }
    return result
  }, job)
  return modes
}

void test('an output that replaces a file keeps its permissions', { skip: !isPosix }, async (t) => {
  const output = join(t.testdir(), 'out.apr')
  for (const [name, job] of Object.entries(JOBS)) {
    for (const mode of ['600', '640', '644', '666', '755', '400', '000']) {
      rmSync(output, { force: true })
      writeFileSync(output, 'old')
      chmodSync(output, parseInt(mode, 8))
      const modes = await partialModes(output, () => job(SAMPLE, output, true))
      t.equal(modeOf(output), mode, name)
      t.ok(statSync(output).size > 3)
      // Until it has its own at the end it is the owner's alone.
      t.same(modes, new Set(['600', mode]), `${name}: the partial file`)
    }
  }
})

void test(
  'a new output gets the permissions of the input where they are stricter than usual',
  { skip: !isPosix },
  async (t) => {
    const folder = t.testdir()
    const [input, output] = [join(folder, 'in.apr'), join(folder, 'out.apr')]
    for (const [name, job] of Object.entries(JOBS)) {
      for (const mode of [0o600, 0o640, 0o644, 0o777, 0o400]) {
        rmSync(input, { force: true })
        cpSync(SAMPLE, input)
        chmodSync(input, mode)
        const expected = (usual() & mode).toString(8)
        for (const overwrite of [true, false]) {
          rmSync(output, { force: true })
          const modes = await partialModes(output, () => job(input, output, overwrite))
          t.equal(modeOf(output), expected, name)
          t.same(modes, new Set(['600', expected]), `${name}: the partial file`)
        }
      }
      rmSync(output, { force: true })
      await job(new MemorySource(readFileSync(SAMPLE)), output, false)
      t.equal(modeOf(output), usual().toString(8), `${name}: what is no file has none`)
    }
  },
)

void test('the permissions are those that the replaced file has in the end', { skip: !isPosix }, async (t) => {
  const output = join(t.testdir(), 'out.apr')
  writeFileSync(output, 'old')
  chmodSync(output, 0o644)
  await quantize(SAMPLE, output, { overwrite: true, mode: 'stream', onProgress: () => chmodSync(output, 0o600) })
  t.equal(modeOf(output), '600')
})

void test('an output that replaces a file keeps its owner and group', { skip: !isRoot }, async (t) => {
  const output = join(t.testdir(), 'out.apr')
  for (const [name, job] of Object.entries(JOBS)) {
    rmSync(output, { force: true })
    writeFileSync(output, 'old')
    chmodSync(output, 0o640)
    chownSync(output, 1234, 4321)
    await job(SAMPLE, output, true)
    const { uid, gid } = statSync(output)
    t.same([uid, gid, modeOf(output)], [1234, 4321, '640'], name)
  }
})

void test(
  'a user who cannot give the file back to its owner lets nobody in who was kept out',
  { skip: !isRoot },
  (t) => {
    const folder = t.testdir({ out: {} })
    const user = 65534
    const root = fileURLToPath(new URL('../..', import.meta.url))
    chmodSync(join(folder, 'out'), 0o777)
    const output = join(folder, 'out', 'out.apr')
    const program = `
    import { quantize } from 'apr-stream'
    process.setgroups([4321])
    process.setgid(${user})
    process.setuid(${user})
    await quantize(${JSON.stringify([SAMPLE, output])}[0], ${JSON.stringify(output)}, { overwrite: true, fit: 'minmax' })
    console.log('done')`
    const cases: [owner: number, group: number, mode: string, found: string][] = [
      // Neither owner nor group: the group's rights would be those of another group.
      [1234, 1234, '660', `${user}:${user} 600`],
      [1234, 1234, '664', `${user}:${user} 644`],
      [1234, 1234, '646', `${user}:${user} 644`],
      [1234, 1234, '466', `${user}:${user} 444`],
      // A group of which the user is a member stays.
      [1234, 4321, '660', `${user}:4321 660`],
      [user, 4321, '640', `${user}:4321 640`],
      [user, 1234, '640', `${user}:${user} 600`],
      [user, user, '640', `${user}:${user} 640`],
    ]
    for (const [owner, group, mode, expected] of cases) {
      rmSync(output, { force: true })
      writeFileSync(output, 'old')
      chmodSync(output, parseInt(mode, 8))
      chownSync(output, owner, group)
      const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
        cwd: root,
        encoding: 'utf8',
        env: PLAIN_ENVIRONMENT,
      })
      t.equal(stdout, 'done\n')
      const { uid, gid, size } = statSync(output)
      t.ok(size > 3)
      t.equal(`${uid}:${gid} ${modeOf(output)}`, expected, `${owner}:${group} ${mode}`)
    }
    t.same(filesIn(join(folder, 'out')), ['out.apr'])
    t.end()
  },
)

void test('on a file system without owners and permissions the output is written all the same', async (t) => {
  const folder = t.testdir()
  mkdirSync(join(folder, 'out'))
  const output = join(folder, 'out', 'out.apr')
  for (const overwrite of [false, true]) {
    await intercept(
      async ({ name }, perform) => {
        if (['fchmod', 'fchown'].includes(name)) throw Object.assign(new Error('injected'), { code: 'EPERM' })
        return await perform()
      },
      () => quantize(SAMPLE, output, { overwrite }),
    )
  }
  t.same(filesIn(join(folder, 'out')), ['out.apr'])
})
