/**
 * Runs tap with the arguments that it is given. What fails is shown in full, and the counts at the end. On a terminal
 * they are drawn again as they grow; elsewhere, where that would be thousands of lines, they are written once.
 */
if (!process.stdout.isTTY) process.env.CI ??= '1'
await import('../node_modules/tap/dist/esm/run.mjs')
