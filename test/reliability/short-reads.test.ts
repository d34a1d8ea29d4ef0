/** Reads and writes that the system does only in part, and jobs that follow one that failed. */
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { quantize } from 'apr-stream'
import { SAMPLE } from '../helpers/files.js'
import { callsOf, contents, describeChanges, FORMS, intercept, settle, SIZES, systemError } from '../helpers/faults.js'

void test('reads and writes that do less than they were asked go on where they ended, or fail', async (t) => {
  const folder = join(t.testdir(), 'out')
  const output = join(folder, 'out.apr')
  let count = 0
  for (const { title, perform } of FORMS) {
    mkdirSync(folder)
    await perform(SAMPLE, output, false)
    const expected = contents(folder)
    rmSync(output)
    const problems: string[] = []
    for (const less of [(size: number) => size - 1, (size: number) => size >> 1, () => 0]) {
      for (let n = 0; ; n++) {
        let short: { label: string; size: number; position: number } | undefined
        let turn = 0
        const result = await settle(() =>
          intercept(
            async ({ name, label, args }, execute) => {
              if (!['read', 'write'].includes(name) || turn++ !== n) return await execute()
              const [descriptor, bytes, offset, length, position] = args as [number, Uint8Array, number, number, number]
              const size = less(length)
              short = { label, size, position }
              if (size === 0) return { bytesRead: 0, bytesWritten: 0, buffer: bytes }
              return await execute([descriptor, bytes, offset, size, position])
            },
            () => perform(SAMPLE, output, false),
          ),
        )
        const left = contents(folder)
        rmSync(output, { force: true })
        if (short === undefined) break
        count++
        const { label, size } = short
        if (result.error === undefined) {
          if (size === 0 && !label.endsWith('journal')) problems.push(`${label}: nothing was done, and it succeeded`)
          if (JSON.stringify(left) !== JSON.stringify(expected))
            problems.push(`${label}: ${describeChanges(left, expected)}`)
        } else {
          const { code } = result.error as NodeJS.ErrnoException
          if (size > 0 || !['APR_TRUNCATED', 'ENOSPC'].includes(String(code)))
            problems.push(`${label}: ${String(result.error)}`)
          if (Object.keys(left).length > 0) problems.push(`${label}: left ${Object.keys(left).join(', ')}`)
        }
      }
    }
    t.same(problems, [], title)
    rmSync(folder, { recursive: true })
  }
  t.comment(`${count} reads and writes cut short`)
})

void test('after a job that failed the same job succeeds in the same process', async (t) => {
  const folder = t.testdir()
  const output = join(folder, 'out.apr')
  const input = join(folder, 'in.apr')
  cpSync(SAMPLE, input)
  const job = (): Promise<unknown> => quantize(input, output, { ...SIZES, mode: 'stream', overwrite: true })
  await job()
  const expected = readFileSync(output)
  const { length } = await callsOf(job)
  for (let n = 0; n < length; n++) {
    await settle(() =>
      intercept(async (call, execute) => {
        if (call.number !== n) return await execute()
        if (call.name === 'close') await execute()
        throw systemError('EIO', call)
      }, job),
    )
    await job()
    if (!readFileSync(output).equals(expected)) t.fail(`other bytes after a failure of call ${n}`)
  }
  t.same(Object.keys(contents(folder)), ['in.apr', 'out.apr'], `after each of ${length} failures`)
})
