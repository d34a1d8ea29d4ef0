/** The uploads that are open in this process and that nobody goes on with: one that exits leaves none of them. */
import { spawnSync } from 'node:child_process'
import type { Upload } from '../../../remote/s3/upload.js'

/** By upload a URL that aborts it. */
const uploads = new Map<Upload, string>()

/** A process that exits waits for nothing but for another one, and no longer than this. */
const EXIT_MS = 10_000

/** Reads URLs from its standard input: they are as good as credentials, and arguments can be seen. */
const ABORTER = `
let text = ''
for await (const chunk of process.stdin) text += chunk
const abort = (url) => fetch(url, { method: 'DELETE' }).catch(() => undefined)
await Promise.all(JSON.parse(text).map(abort))
process.exit()
`

export async function noteOpen(upload: Upload): Promise<void> {
  // Without the package that signs, an upload of a process that exits is left to the bucket's own rules.
  const url = await upload.abortUrl().catch(() => undefined)
  if (url === undefined) return
  if (uploads.size === 0) process.on('exit', abortAll)
  uploads.set(upload, url)
}

export function leaveOpen(upload: Upload): void {
  uploads.delete(upload)
  if (uploads.size === 0) process.off('exit', abortAll)
}

function abortAll(): void {
  spawnSync(process.execPath, ['--input-type=module', '--eval', ABORTER], {
    input: JSON.stringify([...uploads.values()]),
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: EXIT_MS,
    windowsHide: true,
  })
}
