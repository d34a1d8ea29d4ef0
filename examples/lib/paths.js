/** What an example reads and writes: the sample model and a temporary folder, unless the command line names others. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const sampleModel = join(import.meta.dirname, '..', 'models', 'silero-vad.apr')

export const input = process.argv[2] ?? sampleModel
export const output = process.argv[3] ?? join(mkdtempSync(join(tmpdir(), 'apr-stream-')), 'out.apr')
