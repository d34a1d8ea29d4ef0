/** What a worker thread runs: one task at a time. The build makes one script of it and all it imports. */
import { parentPort, workerData } from 'node:worker_threads'
import { Performer, type ThreadTask } from './tasks.js'

const performer = new Performer(workerData as WebAssembly.Module)

parentPort?.on('message', (task: ThreadTask) => {
  const result = performer.perform(task)
  // The memory goes back as it came: moved, not copied.
  const memory = 'pairs' in task ? [task.pairs.a.data, task.pairs.b.data] : 'data' in result ? [result.data] : []
  parentPort?.postMessage(result, [...new Set(memory.map(({ buffer }) => buffer as ArrayBuffer))])
})
