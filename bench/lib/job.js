/**
 * One whole job in a process of its own, as `node job.js INPUT OUTPUT OPTIONS`: prints its report and the event loop's
 * delay as JSON. Without OPTIONS.fit it only reads the input and writes as many bytes as the output has: the bound.
 */
import { open } from 'node:fs/promises'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { quantize } from '../../dist/index.js'

const [input, output, options = '{}'] = process.argv.slice(2)
const { copyBytes, ...job } = JSON.parse(options)
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const started = performance.now()
const report =
  copyBytes === undefined
    ? await quantize(input, output, { overwrite: true, mode: 'stream', ...job })
    : await readAndWrite(input, output, copyBytes)
const seconds = (performance.now() - started) / 1000
delay.disable()
console.log(
  JSON.stringify({
    ...report,
    seconds,
    delayP99Milliseconds: delay.percentile(99) / 1e6,
    delayMaxMilliseconds: delay.max / 1e6,
  }),
)

/**
 * Reads all of `from`, four reads at once, and writes `bytes` to `to`, with nothing between.
 *
 * @param {string} from
 * @param {string} to
 * @param {number} bytes
 */
async function readAndWrite(from, to, bytes) {
  const source = await open(from, 'r')
  const target = await open(to, 'w')
  const { size } = await source.stat()
  const chunkBytes = 2 ** 20
  const ratio = bytes / size
  let next = 0
  const worker = async () => {
    const chunk = new Uint8Array(chunkBytes)
    while (next < size) {
      const position = next
      next += chunkBytes
      const { bytesRead } = await source.read(chunk, 0, chunkBytes, position)
      const start = Math.floor(position * ratio)
      const end = Math.floor((position + bytesRead) * ratio)
      await target.write(chunk, 0, end - start, start)
    }
  }
  await Promise.all([worker(), worker(), worker(), worker()])
  await target.sync()
  await target.close()
  await source.close()
  return { inputBytes: size, outputBytes: bytes }
}
