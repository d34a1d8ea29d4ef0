/**
 * Quantizes the sample model, verifies the result, and compares it with the original and with what `apr quantize` makes
 * of the same model. Then it converts a Hugging Face folder to GGUF, compares the bytes with those of llama.cpp's own
 * converter, and quantizes the folder. Usage: npm run demo, or node examples/demo.js [input [output]]
 */
import { existsSync, mkdirSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { plan, quantize, selectAsApr, verify } from 'apr-stream'
import { demoFolder } from './lib/demo-folder.js'
import { sampleModel } from './lib/paths.js'
import { relativeError } from './lib/relative-error.js'
import { wholeTensors } from './lib/whole-tensors.js'

const root = join(import.meta.dirname, '..')
const input = process.argv[2] ?? sampleModel
const output = process.argv[3] ?? join(root, 'demo', `${basename(input, '.apr')}.q4k.apr`)
mkdirSync(dirname(output), { recursive: true })

const show = (path) => relative(process.cwd(), path)
const number = (value) => value.toLocaleString('en-US')

// 1. What will happen: known from the index, before a byte of a tensor is read.
const planned = await plan(input, { output })
console.log(`Plan for ${show(input)}`)
console.log(`  ${planned.tensors} tensors: ${planned.quantized} become Q4_K, ${planned.kept} are kept`)
console.log(`  ${number(planned.inputBytes)} bytes -> ${number(planned.outputBytes)} bytes`)

// 2. The job itself.
const report = await quantize(input, output, { overwrite: true })
const asPlanned = report.outputBytes === planned.outputBytes
console.log(`\nQuantized to ${show(output)}`)
console.log(`  ${report.ratio.toFixed(2)} times smaller; the size that was planned: ${asPlanned ? 'yes' : 'no'}`)
console.log(`  ${report.seconds.toFixed(2)} s, peak memory of the process ${number(report.peakMemoryBytes)} bytes`)

// 3. Every byte of the result, read and checked.
const verification = await verify(output)
console.log(`\nVerified: ${verification.ok ? 'good' : verification.error.message}`)
console.log(`  ${verification.verified} of ${verification.tensors} tensors, checksum ${verification.footer}`)

// 4. What the 4 bits cost. Both files hold their tensors in the same order.
console.log('\nRelative error of the quantized tensors')
const quantizedTensors = wholeTensors(output)
for await (const original of wholeTensors(input)) {
  const { value: quantized } = await quantizedTensors.next()
  if (original.dtype !== 'F32' || quantized.dtype !== 'Q4_K') continue
  const percent = (100 * relativeError(original, quantized)).toFixed(2)
  console.log(`  ${original.name.padEnd(22)} [${original.shape.join(', ')}]`.padEnd(44), `${percent.padStart(5)} %`)
}

// 5. The other fit, against a file that `apr quantize --scheme q4k` wrote.
const reference = join(root, 'test', 'fixtures', 'apr', 'silero-vad.apr-quantize.apr')
let sameAsReference = true
if (input === sampleModel && existsSync(reference)) {
  const compatible = output.replace(/(\.q4k)?\.apr$/, '.minmax.apr')
  await quantize(input, compatible, { fit: 'minmax', select: selectAsApr, kept: 'f32', overwrite: true })
  const ours = wholeTensors(compatible)
  let same = 0
  let all = 0
  for await (const theirs of wholeTensors(reference)) {
    const { value: tensor } = await ours.next()
    all++
    if (tensor.name === theirs.name && tensor.dtype === theirs.dtype && tensor.bytes.equals(theirs.bytes)) same++
  }
  sameAsReference = same === all
  console.log(`\nWith the fit of apr quantize: ${same} of ${all} tensors have the bytes that it wrote`)
}

// 6. A Hugging Face folder, to GGUF.
const isFolderGood = await demoFolder(dirname(output))

if (!verification.ok || !asPlanned || !sameAsReference || !isFolderGood) process.exitCode = 1
