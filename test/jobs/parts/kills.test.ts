import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { test, type Test } from 'tap'
import { finish, part, type PartsPlan } from 'apr-stream/parts'
import { result } from '../../helpers/command.js'
import { filesIn } from '../../helpers/files.js'
import { savePlan, sha256, startPart, streamed, writeModel } from '../../helpers/parts.js'
import { randomBits } from '../../helpers/random.js'

const CLI = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))

/** Ends or stops its process at a call to the file system. Node loads it before the command. */
const PRELOAD = `
import fs from 'fs-extra'
const { CALL: name, PATH_END: end = '', WHEN: when, WITH: signal } = process.env
const original = fs[name]
let isOver = false
fs[name] = async (...args) => {
  const isMeant = !isOver && (end === '' || args.some((arg) => String(arg).endsWith(end)))
  if (!isMeant) return await original.apply(fs, args)
  isOver = true
  if (when === 'before') process.kill(process.pid, signal)
  const result = await original.apply(fs, args)
  if (when === 'after') process.kill(process.pid, signal)
  return result
}
`

interface At {
  readonly call: string
  readonly end?: string
  readonly when: 'before' | 'after'
  readonly signal: 'SIGKILL' | 'SIGSTOP'
}

interface Job {
  readonly folder: string
  readonly job: string
  readonly made: PartsPlan
  readonly expected: string
}

async function begin(t: Test, rows?: number): Promise<Job> {
  const folder = t.testdir({ 'preload.mjs': PRELOAD })
  const input = writeModel(folder, rows)
  await streamed(input, join(folder, 'streamed.apr'))
  const job = join(folder, 'job.json')
  const made = await savePlan(input, join(folder, 'out.apr'), job)
  return { folder, job, made, expected: sha256(join(folder, 'streamed.apr')) }
}

function startAt({ folder, job }: Job, command: readonly string[], { call, end = '', when, signal }: At): ChildProcess {
  const [name = '', ...flags] = command
  const env = { ...process.env, NODE_OPTIONS: '', CALL: call, PATH_END: end, WHEN: when, WITH: signal }
  const args = ['--import', join(folder, 'preload.mjs'), CLI, name, job, ...flags]
  return spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Waits until a process has stopped itself. */
async function stopped({ pid = 0 }: ChildProcess): Promise<void> {
  for (let i = 0; i < 600; i++) {
    const state = / ([A-Z]) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, ''))?.[1]
    if (state === 'T') return
    await sleep(50)
  }
  throw new Error('the process did not stop')
}

const needsLinux = existsSync('/proc/self/stat') ? {} : { skip: 'needs /proc' }

function checkDone(t: Test, { folder, made, expected }: Job): void {
  t.equal(sha256(made.output), expected)
  const left = filesIn(folder).filter((name) => name.startsWith('out.apr'))
  t.same(left, ['out.apr', `out.apr.${made.id}.done`])
}

void test('finish that is killed before or after it puts the output to its place is run again', async (t) => {
  const places: At[] = [
    { call: 'rename', end: '.done', when: 'before', signal: 'SIGKILL' },
    { call: 'rename', end: '.done', when: 'after', signal: 'SIGKILL' },
    { call: 'link', when: 'before', signal: 'SIGKILL' },
    { call: 'link', when: 'after', signal: 'SIGKILL' },
    { call: 'remove', end: '.partial', when: 'before', signal: 'SIGKILL' },
    { call: 'remove', end: '.partial', when: 'after', signal: 'SIGKILL' },
  ]
  for (const at of places) {
    const job = await begin(t, 300)
    for (const unit of job.made.units.keys()) await part(job.made, unit)
    const { code, stderr } = await result(startAt(job, ['finish'], at))
    const label = `${at.when} ${at.call} ${at.end ?? ''}`
    const isPlaced = at.call === 'remove' || (at.call === 'link' && at.when === 'after')
    t.equal(code, null, `${label}: ${stderr}`)
    t.equal(existsSync(job.made.output), isPlaced, `${label}: in place`)
    t.match(await finish(job.made), { already: isPlaced }, label)
    checkDone(t, job)
  }
})

void test('parts that are killed at any time are run again, and leave nothing wrong', async (t) => {
  const random = randomBits(17)
  for (let round = 0; round < 2; round++) {
    const job = await begin(t)
    const left = [...job.made.units.keys(), 0, 1]
    let kills = 0
    await Promise.all(
      Array.from({ length: 3 }, async () => {
        for (let unit = left.shift(); unit !== undefined; unit = left.shift()) {
          const child = startPart(job.job, unit)
          const timer = kills < 6 ? setTimeout(() => child.kill('SIGKILL'), 150 + (random() % 500)) : undefined
          const { code, stderr } = await result(child)
          clearTimeout(timer)
          if (code === null) {
            kills++
            left.push(unit)
          } else if (code !== 0) throw new Error(stderr)
        }
      }),
    )
    t.comment(`${kills} kills`)
    t.ok(kills > 0)
    t.match(await finish(job.made), { already: false })
    checkDone(t, job)
  }
})

void test(
  'a part that sleeps until all is finished changes nothing, its first block neither',
  needsLinux,
  async (t) => {
    const job = await begin(t, 300)
    const zombie = startAt(job, ['part', '--unit', '0'], { call: 'write', when: 'before', signal: 'SIGSTOP' })
    await stopped(zombie)
    for (const unit of job.made.units.keys()) await part(job.made, unit)
    await finish(job.made)
    checkDone(t, job)
    zombie.kill('SIGCONT')
    t.match(await result(zombie), { code: 0, stderr: '' })
    checkDone(t, job)
    t.match(await finish(job.made), { already: true })
  },
)

void test('a finish that sleeps until another one has finished finds that out', needsLinux, async (t) => {
  for (const at of [
    { call: 'link', when: 'before', signal: 'SIGSTOP' },
    { call: 'rename', end: '.done', when: 'before', signal: 'SIGSTOP' },
    { call: 'write', when: 'before', signal: 'SIGSTOP' },
  ] as const) {
    const job = await begin(t, 300)
    for (const unit of job.made.units.keys()) await part(job.made, unit)
    const zombie = startAt(job, ['finish', '--json'], at)
    await stopped(zombie)
    t.match(await finish(job.made), { already: false })
    checkDone(t, job)
    zombie.kill('SIGCONT')
    const { code, stdout, stderr } = await result(zombie)
    t.equal(code, 0, stderr)
    t.match(JSON.parse(stdout), { already: true })
    checkDone(t, job)
  }
})

void test(
  'a finish that sleeps while the output is planned anew puts nothing unfinished to its place',
  needsLinux,
  async (t) => {
    const job = await begin(t, 300)
    const { made, folder } = job
    const again = { ...made, overwrite: true }
    writeFileSync(job.job, JSON.stringify(again))
    for (const unit of made.units.keys()) await part(again, unit)
    const zombie = startAt(job, ['finish'], { call: 'rename', end: '.done', when: 'before', signal: 'SIGSTOP' })
    await stopped(zombie)
    await finish(again)
    await savePlan(made.input, made.output, job.job, { overwrite: true })
    await part(again, 0)
    zombie.kill('SIGCONT')
    const [code] = (await once(zombie, 'close')) as [number]
    t.equal(code, 1)
    t.equal(sha256(made.output), job.expected, 'what is there is whole')
    for (const unit of made.units.keys()) await part(again, unit)
    await finish(again)
    checkDone(t, job)
    t.ok(folder)
  },
)

void test('two that finish at once both say that it is done', async (t) => {
  const job = await begin(t, 300)
  for (const unit of job.made.units.keys()) await part(job.made, unit)
  const finished = await Promise.all([1, 2, 3].map(() => finish(job.made)))
  t.ok(finished.some(({ already }) => !already))
  checkDone(t, job)
})
