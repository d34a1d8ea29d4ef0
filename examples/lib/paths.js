/** What an example reads and writes: a sample model and a temporary folder, unless the command line names others. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const sampleModel = join(import.meta.dirname, '..', 'models', 'silero-vad.apr')

/** A small Hugging Face folder: Llama in two shards, BF16, 0.9 million parameters. The tests have it too. */
const fixtures = join(import.meta.dirname, '..', '..', 'test', 'fixtures', 'hf', 'small')
export const sampleFolder = join(fixtures, 'models', 'Golden-Llama-3.2-Instruct')
/** What llama.cpp's own converter makes of it. */
export const sampleExpected = join(fixtures, 'expected', 'Golden-Llama-3.2-Instruct.json')
/** What llama.cpp's `llama-imatrix` finds of it. */
export const sampleMatrix = join(fixtures, 'imatrix', 'Golden-Llama-3.2-Instruct', 'imatrix.gguf')
/** Its tokenizer is a made-up one, so that it must be told how it splits text: real ones are recognized. */
export const samplePre = 'llama-bpe'

export const input = process.argv[2] ?? sampleModel
export const outputFolder = mkdtempSync(join(tmpdir(), 'apr-stream-'))
export const output = process.argv[3] ?? join(outputFolder, 'out.apr')
