/** Makes parts of what is in the queue, until it is ended. */
import { createWorkers, startFlowPage } from 'apr-stream/bullmq'

const connection = process.env.APR_STREAM_REDIS ?? process.env.APR_STREAM_POSTGRES
const workers = await createWorkers(connection, { onEvent: (event) => console.log(JSON.stringify(event)) })
const page = await startFlowPage(connection, { port: 0 })
console.log(`ready; ${page.url}`)

process.once('SIGTERM', async () => {
  await workers.close()
  await page.close()
})
