/** The program of a worker thread, as one script. The build writes the module from `worker.ts`: see scripts/embed.js. */
export const workerSource: string
