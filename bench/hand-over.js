/**
 * What it costs to hand a record to a thread and to get it back: its memory moved (transferred), shared, or copied. The
 * thread writes to every page of it and nothing else.
 */
import { once } from 'node:events'
import { Worker, isMainThread, parentPort } from 'node:worker_threads'
import { interleave } from './lib/interleave.js'

const RECORD_BYTES = 2 * 2 ** 20
const PAGE_BYTES = 4096
const RECORDS = 200

/** @param {{ rounds: number }} options */
export async function benchHandOver({ rounds }) {
  const worker = new Worker(new URL(import.meta.url))
  await once(worker, 'message')
  let moved = new ArrayBuffer(RECORD_BYTES)
  const copied = new ArrayBuffer(RECORD_BYTES)
  const shared = new SharedArrayBuffer(RECORD_BYTES)

  /** @param {() => Promise<void>} handOver */
  const repeat = (handOver) => async () => {
    for (let i = 0; i < RECORDS; i++) await handOver()
  }
  /** @param {any} buffer @param {boolean} isMoved */
  const answer = async (buffer, isMoved) => {
    const answered = once(worker, 'message')
    worker.postMessage({ buffer, isMoved }, isMoved ? [buffer] : [])
    const [message] = await answered
    return message
  }
  const timings = await interleave(
    {
      moved: repeat(async () => {
        moved = await answer(moved, true)
      }),
      shared: repeat(async () => {
        await answer(shared, false)
      }),
      copied: repeat(async () => {
        await answer(copied, false)
      }),
    },
    { rounds },
  )
  await worker.terminate()
  return Object.entries(timings).map(([name, { median }]) => ({ name, microseconds: (median / RECORDS) * 1e6 }))
}

if (!isMainThread) {
  parentPort?.on('message', ({ buffer, isMoved }) => {
    const bytes = new Uint8Array(buffer)
    for (let i = 0; i < bytes.length; i += PAGE_BYTES) bytes[i]++
    parentPort?.postMessage(buffer, isMoved ? [buffer] : [])
  })
  parentPort?.postMessage('ready')
}
