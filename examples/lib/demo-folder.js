/**
 * The second half of the demo: a Hugging Face folder becomes GGUF, compared with what llama.cpp's own converter makes of
 * it, and Q4_K on the way; both files are verified.
 */
import { readFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { convert, quantize, verify } from 'apr-stream'
import { sampleExpected, sampleFolder, samplePre } from './paths.js'
import { sha256 } from './sha256.js'

const show = (path) => relative(process.cwd(), path)
const number = (value) => value.toLocaleString('en-US')

/** @returns whether all is as it should be */
export async function demoFolder(outputFolder) {
  const name = basename(sampleFolder)
  const whole = join(outputFolder, `${name}.gguf`)
  const small = join(outputFolder, `${name}.q4k.gguf`)
  const options = { pre: samplePre, overwrite: true }

  const converted = await convert(sampleFolder, whole, options)
  const isSame = (await sha256(whole)) === JSON.parse(readFileSync(sampleExpected, 'utf8')).convert.sha256
  console.log(`\nConverted ${show(sampleFolder)} to ${show(whole)}`)
  console.log(
    `  ${converted.tensors} tensors, ${number(converted.outputBytes)} bytes, ${converted.seconds.toFixed(2)} s`,
  )
  console.log(`  the bytes of convert_hf_to_gguf.py: ${isSame ? 'yes' : 'no'}`)

  const quantized = await quantize(sampleFolder, small, options)
  console.log(`\nQuantized the folder to ${show(small)}`)
  console.log(
    `  ${quantized.quantized} of ${quantized.tensors} tensors became Q4_K, ${quantized.ratio.toFixed(2)} times smaller`,
  )

  console.log('')
  let isGood = isSame
  for (const file of [whole, small]) {
    const { ok, error, verified, tensors } = await verify(file)
    console.log(`Verified ${show(file)}: ${ok ? `good, ${verified} of ${tensors} tensors` : error.message}`)
    isGood &&= ok
  }
  return isGood
}
