/**
 * Looks before it leaps: plans a job from the index alone, decides by the plan, and runs it with the same options.
 * Usage: node examples/plan-first.js [input [output]]
 */
import { plan, quantize, selectByDefault } from 'apr-stream'
import { input, output } from './lib/paths.js'

// One object for both: then the plan is that of the job.
const options = {
  // The default rule, but convolutions stay as they are.
  select: (tensor) => selectByDefault(tensor) && tensor.shape.length === 2,
}

const planned = await plan(input, { ...options, output })
console.log(`${planned.inputBytes} bytes -> ${planned.outputBytes} bytes, ${planned.ratio.toFixed(2)} times smaller`)
console.log(`mode ${planned.mode}, about ${planned.peakMemoryBytes} bytes of memory`)
for (const { name, action, reason, dtype, outputDType } of planned.decisions) {
  console.log(`  ${action.padEnd(8)} ${reason.padEnd(9)} ${dtype} -> ${outputDType}  ${name}`)
}
for (const warning of planned.warnings) console.warn(`warning: ${warning}`)

if (planned.freeBytes < planned.outputBytes) {
  console.error(`expected ${planned.outputBytes} bytes free, found ${planned.freeBytes}`)
  process.exit(1)
}

const report = await quantize(input, output, options)
console.log(`${report.output}: ${report.outputBytes} bytes, as planned: ${report.outputBytes === planned.outputBytes}`)
