/** What a worker thread runs: one kernel, one task at a time. The build makes one script of it and all it imports. */
import { parentPort, workerData } from 'node:worker_threads'
import { createSimdKernel } from '../quant/simd.js'
import { performTask, type Task } from '../quant/runs/task.js'

const kernel = createSimdKernel(workerData as WebAssembly.Module)

parentPort?.on('message', (task: Task) => {
  const result = performTask(task, kernel)
  // The memory goes back as it came: moved, not copied.
  parentPort?.postMessage(result, 'data' in result ? [result.data.buffer as ArrayBuffer] : [])
})
