/** The program of a thread that makes parts, as one script: see scripts/embed.js. */
export const workerSource: string
