import { once } from 'node:events'
import { join } from 'node:path'
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { writeFileSync } from 'node:fs'
import { test } from 'tap'
import { AprError, quantize } from 'apr-stream'
import { arbitraryTensor, modelBytes, SAMPLE, type StoredTensor } from '../helpers/files.js'
import { MemorySource } from '../helpers/files.js'

const place = { file: 'm.apr', tensor: 'w', element: 7, value: NaN, offset: 64 }
const error = new AprError('APR_BAD_VALUE', 'expected finite numbers, found NaN', place)
const plain = {
  code: 'APR_BAD_VALUE',
  message: 'expected finite numbers, found NaN (tensor "w", element 7, byte 64, file m.apr)',
  file: 'm.apr',
  tensor: 'w',
  element: 7,
  value: 'NaN',
  offset: 64,
}

void test('an error keeps code, message and place as JSON', (t) => {
  t.same(JSON.parse(JSON.stringify({ error })), { error: plain })
  const bare = new AprError('APR_WORKER', 'no place')
  t.same(Object.keys(bare.toJSON()), ['code', 'message'], 'what is not known is left out')
  t.end()
})

void test('its plain data passes structuredClone and postMessage; the error itself keeps message, stack and cause', (t) => {
  t.same(structuredClone(error.toJSON()), plain)
  const { port1, port2 } = new MessageChannel()
  port1.postMessage(error.toJSON())
  t.same(receiveMessageOnPort(port2)?.message, plain)
  port1.close()
  const cause = { code: 'ENOMEM' }
  const cloned = structuredClone(new AprError('APR_WORKER', 'what', { tensor: 'w' }, { cause }))
  t.match(cloned, { message: 'what (tensor "w")', stack: /AprError: what/, cause })
  t.end()
})

void test('an error that ends a worker thread comes out of it with code and place', async (t) => {
  const url = new URL('../../dist/index.js', import.meta.url).href
  const program = `import(${JSON.stringify(url)}).then(({ AprError }) => {
    throw new AprError('APR_BAD_VALUE', 'what', { tensor: 'w', element: 7 })
  })`
  const worker = new Worker(program, { eval: true, execArgv: [], env: { NODE_OPTIONS: '' } })
  const [found] = (await once(worker, 'error').catch((reason: unknown) => [reason])) as unknown[]
  t.match(found, { name: 'AprError', code: 'APR_BAD_VALUE', tensor: 'w', element: 7 })
})

void test('the stack says where an error was thrown, also where its place was added later', (t) => {
  const thrown = new AprError('APR_BAD_RECORD', 'what')
  const located = thrown.at({ file: 'm.apr' })
  t.equal(located.stack, thrown.stack?.replace('what', 'what (file m.apr)'))
  t.notOk('cause' in located, 'and it has a cause only where there is one')
  t.end()
})

/** A matrix of F64 with one value that F32 cannot hold. */
function huge(name: string): StoredTensor {
  const tensor = arbitraryTensor(name, 'F64', [2, 256])
  Buffer.from(tensor.bytes.buffer, tensor.bytes.byteOffset).writeDoubleLE(1e300, 8 * 100)
  return tensor
}

void test('advice speaks of options of the library, and works', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const file = modelBytes({ tensors: [arbitraryTensor('a.weight', 'F32', [2, 256]), huge('b.weight')] })
  const source = (): MemorySource => new MemorySource(file)
  const messageOf = (job: Promise<unknown>): Promise<string> =>
    job.then(
      () => 'done',
      (reason: unknown) => (reason as Error).message,
    )
  const select = ({ name }: { name: string }): boolean => name !== 'b.weight'
  t.match(
    await messageOf(quantize(source(), output)),
    'found 1e+300; leave the tensor out with `select`, and keep its dtype with `kept: \'same\'` (tensor "b.weight"',
  )
  t.match(
    await messageOf(quantize(source(), output, { select })),
    'found 1e+300; keep its dtype with `kept: \'same\'` (tensor "b.weight"',
    'left out it would become F32: that is no cure',
  )
  t.equal((await quantize(source(), output, { select, kept: 'same' })).quantized, 1)

  t.match(await messageOf(quantize(SAMPLE, output)), 'found one; `overwrite` replaces it (file')
  const nan = arbitraryTensor('w', 'F32', [2, 256])
  Buffer.from(nan.bytes.buffer, nan.bytes.byteOffset).writeFloatLE(NaN, 400)
  const broken = join(t.testdirName, 'nan.apr')
  writeFileSync(broken, modelBytes({ tensors: [nan] }))
  t.match(
    await messageOf(quantize(broken, output, { overwrite: true })),
    'found NaN; leave the tensor out with `select` (',
  )
})
