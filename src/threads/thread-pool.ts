/** Threads of kernels: each takes runs and pairs, one task at a time. */
import { kernelModule } from '../quant/simd.js'
import type { ConvertResult, ConvertTask, PairsResult, PairsTask, ThreadResult, ThreadTask } from './tasks.js'
import { workerSource } from './worker-source.js'
import { WorkerThreads } from './worker-threads.js'

export class ThreadPool {
  readonly #threads: WorkerThreads<ThreadTask, ThreadResult>

  /** Starts no thread yet: each starts when there is a task for it. */
  constructor(maxThreads: number) {
    this.#threads = new WorkerThreads(maxThreads, () => ({ source: workerSource, data: kernelModule() }))
  }

  /**
   * @param transferList memory of the task that moves to the thread
   * @throws what ended a thread, of this task or another; or that `destroy` was called
   */
  run(task: ConvertTask, options: { transferList: readonly ArrayBuffer[] }): Promise<ConvertResult>
  run(task: PairsTask, options: { transferList: readonly ArrayBuffer[] }): Promise<PairsResult>
  run(task: ThreadTask, options: { transferList: readonly ArrayBuffer[] }): Promise<ThreadResult> {
    return this.#threads.run(task, options)
  }

  /** Ends all threads; tasks that are under way fail. */
  async destroy(): Promise<void> {
    await this.#threads.destroy()
  }
}
