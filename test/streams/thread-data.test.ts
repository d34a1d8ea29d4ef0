import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MessagePort } from 'node:worker_threads'
import { test, type Test } from 'tap'
import { aprWriter, q4k, type AprModel, type TensorRecord } from 'apr-stream'
import { arbitraryTensor, run, sameBytes } from '../helpers/files.js'

/** 4 Mi elements: as much as starts a thread. */
const SHAPE = [4096, 1024]
const RECORD_BYTES = 512 * 1024

void test('only the bytes of a record go to a thread, whatever memory they are a view of', async (t) => {
  const rows = arbitraryTensor('w.weight', 'F16', [64, 1024])
  const all = Buffer.concat(Array.from({ length: 64 }, () => rows.bytes))
  const tensor = { name: 'w.weight', dtype: 'F16', shape: SHAPE, size: all.length } as const
  const model: AprModel = Object.freeze({
    tensors: [tensor],
    metadata: '{}',
    flags: 0x0400,
    format: 'apr' as const,
    minorVersion: 0,
    reserved: new Uint8Array(20),
  })
  const records = function* (view: (start: number, end: number) => Uint8Array): Generator<TensorRecord> {
    for (let offset = 0; offset < all.length; offset += RECORD_BYTES) {
      yield { ...tensor, offset, data: view(offset, offset + RECORD_BYTES), model }
    }
  }
  const quantized = async (view: (start: number, end: number) => Uint8Array): Promise<Buffer> => {
    const output = join(t.testdir({}), 'out.apr')
    await run([() => records(view), q4k({ threads: 1 }), aprWriter(output)])
    return readFileSync(output)
  }
  const expected = await quantized((start, end) => new Uint8Array(all.subarray(start, end)))

  const own = new Uint8Array(all).buffer
  const views: Readonly<Record<string, (start: number, end: number) => Uint8Array>> = {
    'of an ArrayBuffer': (start, end) => new Uint8Array(own, start, end - start),
    'of a Buffer': (start, end) => all.subarray(start, end),
  }
  const before = Buffer.from(all)
  const sent = watchMessages(t)
  for (const [what, view] of Object.entries(views)) {
    sent.length = 0
    sameBytes(t, await quantized(view), expected, `views ${what}`)
    const large = sent.filter((bytes) => bytes >= RECORD_BYTES)
    t.equal(large.length, all.length / RECORD_BYTES, 'every record went to the thread')
    t.ok(
      sent.every((bytes) => bytes <= RECORD_BYTES),
      `at most ${Math.max(...sent)} bytes at once`,
    )
    sameBytes(t, new Uint8Array(own), before, 'the memory is as it was')
    sameBytes(t, all, before, 'the memory is as it was')
  }
})

/** The bytes of the buffers that each message with any takes along, as messages are sent. */
function watchMessages(t: Test): number[] {
  const sent: number[] = []
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { postMessage } = MessagePort.prototype
  t.capture(
    MessagePort.prototype,
    'postMessage',
    function (this: MessagePort, ...message: Parameters<MessagePort['postMessage']>) {
      const buffers = new Set<ArrayBufferLike>()
      collectBuffers(message[0], buffers)
      const bytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0)
      if (bytes > 0) sent.push(bytes)
      postMessage.apply(this, message)
    },
  )
  return sent
}

function collectBuffers(value: unknown, buffers: Set<ArrayBufferLike>): void {
  if (ArrayBuffer.isView(value)) buffers.add(value.buffer)
  else if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) collectBuffers(part, buffers)
  }
}
