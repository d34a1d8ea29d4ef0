/**
 * A Hugging Face folder to GGUF, for llama.cpp: in one pass, in constant memory, with the bytes of its own converter.
 * `planConversion` says beforehand what comes out. Usage: node examples/folder-to-gguf.js [folder [output.gguf [pre]]]
 */
import { join } from 'node:path'
import { convert, planConversion } from 'apr-stream'
import { outputFolder, sampleFolder, samplePre } from './lib/paths.js'

const input = process.argv[2] ?? sampleFolder
const output = process.argv[3] ?? join(outputFolder, 'model.gguf')
// How the tokenizer splits text is found by running it; the sample's is a made-up one that nobody knows.
const pre = process.argv[4] ?? (input === sampleFolder ? samplePre : undefined)

const planned = await planConversion(input, { output, pre })
for (const { name, dtype, shape, sources } of planned.decisions) {
  const made = sources.length === 0 ? 'made' : `of ${sources.map((source) => source.name).join(', ')}`
  console.log(`  ${dtype.padEnd(4)} ${name} [${shape.join(', ')}]  ${made}`)
}
console.log(`${planned.metadata.length} keys, ${planned.outputBytes} bytes`)

const { outputBytes, tensors, dropped } = await convert(input, output, { pre })
console.log(`${output}: ${tensors} tensors, ${outputBytes} bytes, not needed: ${dropped.join(', ') || 'none'}`)
