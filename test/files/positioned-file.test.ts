import { join } from 'node:path'
import { test } from 'tap'
import { PositionedFile } from '../../dist/files/positioned-file.js'
import { intercept, systemError, until } from '../helpers/faults.js'

const MIB = 2 ** 20
const BYTES = Buffer.alloc(MIB, 1)

async function write(file: PositionedFile, mebibytes: number): Promise<void> {
  for (let i = 0; i < mebibytes; i++) {
    await file.write(BYTES, i * MIB)
    file.startSync()
  }
}

void test('of a large file the disk gets what was written while more is written', async (t) => {
  const calls: string[] = []
  await intercept(
    async ({ name }, perform) => {
      calls.push(name)
      return await perform()
    },
    async () => {
      const file = await PositionedFile.open(join(t.testdir(), 'out'), 'wx+')
      await write(file, 127)
      t.notOk(calls.includes('fdatasync'), 'not of a small one')
      await write(file, 130)
      await file.sync()
      await file.close()
    },
  )
  t.ok(calls.includes('fdatasync'))
  t.same(calls.slice(-2), ['fsync', 'close'])
})

void test('what failed on the way to the disk fails in the end, and no file is closed before', async (t) => {
  let fail: (() => void) | undefined
  const calls: string[] = []
  await intercept(
    async (call, perform) => {
      calls.push(call.name)
      if (call.name !== 'fdatasync') return await perform()
      await new Promise<void>((resolve) => (fail = resolve))
      throw systemError('EIO', call)
    },
    async () => {
      const path = join(t.testdir(), 'out')
      const file = await PositionedFile.open(path, 'wx+')
      await write(file, 130)
      const synced = file.sync()
      const closed = file.close()
      await until(() => fail !== undefined)
      t.notOk(calls.includes('close'))
      fail?.()
      await t.rejects(synced, { code: 'EIO', path })
      await closed
    },
  )
  t.notOk(calls.includes('fsync'), 'which would say that all is well')
})
