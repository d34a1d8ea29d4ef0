import { readdirSync, readlinkSync } from 'node:fs'
import { test } from 'tap'
import { inspect, plan, verify, type ByteSource, type ReadOptions } from 'apr-stream'
import { arbitraryTensor, MemorySource, modelBytes, SAMPLE, turns } from '../helpers/files.js'

const FILE = modelBytes({
  tensors: Array.from({ length: 6 }, (_, i) => arbitraryTensor(`${i}.weight`, 'F32', [64, 512])),
})
const JOBS: Readonly<Record<string, (input: string | ByteSource, options?: ReadOptions) => Promise<object>>> = {
  inspect,
  verify,
  plan,
}
const REASONS = [new Error('no longer wanted'), 'a text', undefined, new DOMException('too long', 'TimeoutError')]

const isOpen = (path: string): boolean =>
  readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      return false
    }
  })

for (const [name, job] of Object.entries(JOBS)) {
  void test(`${name} with a signal that is aborted rejects, opens nothing and closes what it was given`, async (t) => {
    for (const reason of REASONS) {
      const signal = AbortSignal.abort(reason)
      const expected = { name: 'AbortError', code: 'ABORT_ERR', cause: signal.reason as unknown }
      const source = new MemorySource(FILE)
      await t.rejects(job(source, { signal }), expected)
      t.equal(source.closed, 1, 'closed')
      t.equal(source.reads.length, 0, 'not read')
      await t.rejects(job('missing.apr', { signal }), expected, 'a path that is not looked at')
    }
  })

  void test(`${name} is ended by a signal at every read, and the source is closed`, async (t) => {
    for (const reason of REASONS) {
      for (let read = 0; ; read++) {
        const controller = new AbortController()
        const source: MemorySource = new MemorySource(FILE, (n) => {
          if (n === read) controller.abort(reason)
          return undefined
        })
        const result = job(source, { signal: controller.signal })
        if (!(await endsWith(result, controller.signal))) {
          t.ok(read >= source.reads.length, 'only what is done is not ended')
          break
        }
        await turns()
        t.equal(source.closed, 1, `closed, aborted in read ${read}`)
        t.ok(source.reads.length <= read + 4, 'no more was read than was under way')
      }
    }
  })

  void test(`${name} is ended at once while a read hangs, and the source is closed when that ends`, async (t) => {
    const controller = new AbortController()
    let goOn = (): void => undefined
    const source = new MemorySource(FILE, () => new Promise<void>((done) => (goOn = done)))
    const result = job(source, { signal: controller.signal })
    await turns()
    controller.abort('enough')
    await t.rejects(result, { name: 'AbortError', cause: 'enough' })
    t.equal(source.closed, 0, 'not closed under a read')
    goOn()
    await turns()
    t.equal(source.closed, 1)
  })

  void test(`${name} with a bad option closes the source that it was given`, async (t) => {
    const source = new MemorySource(FILE)
    await t.rejects(job(source, { signal: true as never }), { code: 'APR_BAD_OPTION' })
    t.equal(source.closed, 1)
  })

  void test(`${name} with a signal that is never aborted is what it is without, and leaves no listener`, async (t) => {
    const { signal } = new AbortController()
    let listeners = 0
    const counted = Object.assign(signal, {
      addEventListener: (...args: Parameters<AbortSignal['addEventListener']>) => {
        listeners++
        AbortSignal.prototype.addEventListener.apply(signal, args)
      },
      removeEventListener: (...args: Parameters<AbortSignal['removeEventListener']>) => {
        listeners--
        AbortSignal.prototype.removeEventListener.apply(signal, args)
      },
    })
    for (const input of [SAMPLE, new MemorySource(FILE)]) {
      const again = typeof input === 'string' ? input : new MemorySource(FILE)
      const [found, expected] = [await job(input, { signal: counted }), await job(again)]
      // The disk's free space is everybody's.
      t.strictSame({ ...found, freeBytes: 0 }, { ...expected, freeBytes: 0 })
    }
    t.equal(listeners, 0)
    t.notOk(isOpen(SAMPLE), 'the file is closed')
  })
}

void test('a wrong file is told as one with a signal as well, and what a source throws comes through', async (t) => {
  const { signal } = new AbortController()
  const damaged = Buffer.from(FILE)
  damaged[damaged.length - 5000] = (damaged[damaged.length - 5000] ?? 0) ^ 1
  t.match(await verify(new MemorySource(damaged), { signal }), { ok: false, footer: 'wrong', verified: 6 })
  const failure = new Error('unplugged')
  const throwing: ByteSource = {
    name: 'x',
    size: 1000,
    read: () => {
      throw failure
    },
    close: () => Promise.resolve(),
  }
  await t.rejects(verify(throwing, { signal }), failure)
  const changed = Object.assign(new MemorySource(FILE), { checkUnchanged: () => Promise.reject(failure) })
  await t.rejects(verify(changed, { signal }), failure)
  t.equal(changed.closed, 1)
})

/** Whether a promise rejects with the error of this signal; another rejection passes on. */
async function endsWith(result: Promise<unknown>, signal: AbortSignal): Promise<boolean> {
  try {
    await result
    return false
  } catch (error) {
    const { name, cause } = error as Error
    if (name !== 'AbortError' || cause !== signal.reason) throw error
    return true
  }
}
