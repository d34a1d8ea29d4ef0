/** What a worker thread runs: one kernel, one task at a time. */
import { Piscina, transferableSymbol, valueSymbol, workerData } from 'piscina'
import { createSimdKernel } from '../quant/simd.js'
import { performTask, type Task } from '../quant/task.js'

const kernel = createSimdKernel(workerData as WebAssembly.Module)

export default function perform(task: Task): object {
  const result = performTask(task, kernel)
  // The memory goes back as it came: moved, not copied.
  if (!('data' in result)) return result
  return Piscina.move({ [transferableSymbol]: [result.data.buffer], [valueSymbol]: result })
}
