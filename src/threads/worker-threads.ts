/**
 * Worker threads that take tasks in their order. One that fails fails all tasks, those to come too: the job is lost
 * anyway, and nothing waits for a thread that is gone.
 */
import { Worker } from 'node:worker_threads'

/** The next task is there when one is done: no thread waits for this one. */
const TASKS_PER_THREAD = 2

/** What threads run: a script, and what each is given at its start. */
export interface Program {
  readonly source: string
  readonly data: unknown
}

interface Job<Task, Result> {
  readonly task: Task
  readonly transferList: readonly ArrayBuffer[]
  readonly resolve: (result: Result) => void
  readonly reject: (error: Error) => void
}

interface Thread<Task, Result> {
  readonly worker: Worker
  /** What it was sent and has not answered, in this order: it answers in the same. */
  readonly jobs: Job<Task, Result>[]
}

export class WorkerThreads<Task, Result> {
  readonly #maxThreads: number
  readonly #program: () => Program
  readonly #threads: Thread<Task, Result>[] = []
  readonly #waiting: Job<Task, Result>[] = []
  #failure: Error | undefined
  #ended: Promise<unknown> | undefined

  /** Starts no thread yet: each starts when there is a task for it. */
  constructor(maxThreads: number, program: () => Program) {
    this.#maxThreads = maxThreads
    this.#program = program
  }

  /**
   * @param transferList memory of the task that moves to the thread
   * @throws what ended a thread, of this task or another; or that `destroy` was called
   */
  run(task: Task, { transferList = [] }: { transferList?: readonly ArrayBuffer[] } = {}): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, transferList, resolve, reject })
      if (this.#failure) this.#rejectAll(this.#failure)
      else this.#send()
    })
  }

  /** Ends all threads; tasks that are under way fail. */
  async destroy(): Promise<void> {
    this.#fail(new Error('the threads were ended'))
    await this.#ended
  }

  #send(): void {
    try {
      for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
        const thread = this.#freeThread()
        if (!thread) return
        // A thread without a task keeps no process alive.
        thread.worker.ref()
        thread.worker.postMessage(next.task, next.transferList)
        thread.jobs.push(next)
        this.#waiting.shift()
      }
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  /** An idle thread, else a new one, else the one with the least to do; undefined when all have enough. */
  #freeThread(): Thread<Task, Result> | undefined {
    let best: Thread<Task, Result> | undefined
    for (const thread of this.#threads) if (!best || thread.jobs.length < best.jobs.length) best = thread
    if (best?.jobs.length !== 0 && this.#threads.length < this.#maxThreads) return this.#start()
    return best && best.jobs.length < TASKS_PER_THREAD ? best : undefined
  }

  #start(): Thread<Task, Result> {
    const { source, data } = this.#program()
    const worker = new Worker(source, {
      eval: true,
      workerData: data,
      // What was preloaded into this thread, as loaders and monitors are, would cost each of those its start.
      execArgv: [],
      // A task leaves next to nothing to collect: without a limit each heap would grow by megabytes all the same.
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
    })
    const thread: Thread<Task, Result> = { worker, jobs: [] }
    worker.on('message', (result: Result) => {
      // A late answer of a thread that is being ended: without a reference nothing might wait for its end.
      if (this.#failure) return
      thread.jobs.shift()?.resolve(result)
      this.#send()
      if (thread.jobs.length === 0) worker.unref()
    })
    worker.on('error', (error) => this.#fail(error))
    worker.on('messageerror', (error) => this.#fail(error))
    // An error, where there is one, comes before it.
    worker.on('exit', (code) => this.#fail(new Error(`it ended with exit code: ${code}`)))
    this.#threads.push(thread)
    return thread
  }

  #fail(error: Error): void {
    // The first failure is the cause; those after it are of threads that were ended because of it.
    if (this.#failure) return
    this.#failure = error
    this.#ended = Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
    this.#rejectAll(error)
  }

  #rejectAll(error: Error): void {
    const jobs = [...this.#threads.flatMap((thread) => thread.jobs.splice(0)), ...this.#waiting.splice(0)]
    for (const { reject } of jobs) reject(error)
  }
}
