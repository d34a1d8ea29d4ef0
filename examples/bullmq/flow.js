/** Makes a model by a queue: node flow.js INPUT OUTPUT */
import { addFlow } from 'apr-stream/bullmq'
import { plan } from 'apr-stream/parts'

const [input, output] = process.argv.slice(2)
const connection = process.env.APR_STREAM_REDIS ?? process.env.APR_STREAM_POSTGRES

const flow = await addFlow(await plan(input, output, { recipe: 'Q4_K_M' }), connection)
try {
  const finished = await flow.wait({
    onProgress: ({ partsDone, parts, secondsLeft }) =>
      console.log(`${partsDone} of ${parts} parts, ${secondsLeft === undefined ? '?' : Math.ceil(secondsLeft)} s left`),
  })
  console.log(`${finished.output}: ${finished.bytes} bytes`)
} finally {
  await flow.close()
}
