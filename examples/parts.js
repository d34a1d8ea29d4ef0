/**
 * A model made in parts through the library: a plan, its units in any order, and the end. In earnest each unit is made by
 * another process or machine, which gets the plan as JSON. Usage: node examples/parts.js [input [output]]
 */
import { quantize } from 'apr-stream'
import { finish, part, plan } from 'apr-stream/parts'
import { join } from 'node:path'
import { input, output, outputFolder } from './lib/paths.js'
import { sha256 } from './lib/sha256.js'

// Blocks and units of megabytes in earnest; these are for a sample.
const made = await plan(input, output, { blockBytes: 64 * 1024, unitBytes: 128 * 1024 })
console.log(`plan ${made.id}: ${made.totalBytes} bytes in ${made.units.length} units`)

const text = JSON.stringify(made)
for (const unit of [...made.units.keys()].reverse()) {
  const receipts = await part(JSON.parse(text), unit, {
    onProgress: ({ blocks, totalBlocks }) => console.log(`  unit ${unit}: ${blocks} of ${totalBlocks} blocks`),
  })
  console.log(`unit ${unit}: ${receipts.length} blocks are there`)
}
// Again does no harm: what is there is not made again.
await part(made, 0)

const finished = await finish(made)
console.log(`${finished.output}: ${finished.bytes} bytes, CRC-32 ${finished.crc32.toString(16)}`)

const whole = join(outputFolder, 'whole.apr')
await quantize(input, whole)
console.log(`the bytes of quantize: ${(await sha256(whole)) === (await sha256(output)) ? 'yes' : 'no'}`)
