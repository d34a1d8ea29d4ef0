/**
 * An input that is no file: byte ranges over HTTP, here from a server on the loopback interface. The reader asks for
 * what it needs, a few ranges at once, so the model is never on this machine's disk and never whole in its memory.
 * Usage: node examples/custom-source.js [input [output]]
 */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { quantize } from 'apr-stream'
import { input, output } from './lib/paths.js'

const TIMEOUT_MS = 30_000

/** Opens a URL whose server answers range requests. */
async function openUrl(url) {
  const head = async () => {
    const response = await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(TIMEOUT_MS) })
    if (!response.ok) throw new Error(`expected status 200 from ${url}, found ${response.status}`)
    return { size: Number(response.headers.get('content-length')), etag: response.headers.get('etag') }
  }
  const { size, etag } = await head()
  return {
    name: url,
    size,
    // Optional: what changes when the content does. With it a job can be resumed.
    version: etag ?? undefined,

    /** Fills all of `target`, or fails. Several reads may be under way at once. */
    async read(target, position) {
      if (target.length === 0) return
      const response = await fetch(url, {
        headers: { range: `bytes=${position}-${position + target.length - 1}` },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      if (response.status !== 206 || response.headers.get('etag') !== etag) {
        await response.body?.cancel()
        throw new Error(`expected a part of the same ${url}, found status ${response.status}`)
      }
      let done = 0
      for await (const chunk of response.body) {
        // A server that sends more than was asked for cannot make this take more memory.
        if (done + chunk.length > target.length) throw new Error(`expected ${target.length} bytes, found more`)
        target.set(chunk, done)
        done += chunk.length
      }
      if (done < target.length) throw new Error(`expected ${target.length} bytes, found ${done}`)
    },

    /** Optional: called at the end, so that no output comes from two versions of the input. */
    async checkUnchanged() {
      const now = await head()
      if (now.size !== size || now.etag !== etag) throw new Error(`${url} changed while it was read`)
    },

    async close() {
      // Nothing is held between two reads.
    },
  }
}

/** Serves one file, with ranges, and counts what is asked of it. */
async function serve(file) {
  const { size, mtimeMs } = await stat(file)
  const counts = { requests: 0, bytes: 0, atOnce: 0, mostAtOnce: 0 }
  const server = createServer((request, response) => {
    const headers = { etag: `"${size}-${mtimeMs}"`, 'accept-ranges': 'bytes' }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    if (range === null) {
      response.writeHead(200, { ...headers, 'content-length': size })
      if (request.method === 'HEAD') response.end()
      else createReadStream(file).pipe(response)
      return
    }
    const [start, end] = [Number(range[1]), Number(range[2])]
    counts.requests++
    counts.bytes += end - start + 1
    counts.mostAtOnce = Math.max(counts.mostAtOnce, ++counts.atOnce)
    response.on('close', () => counts.atOnce--)
    response.writeHead(206, {
      ...headers,
      'content-length': end - start + 1,
      'content-range': `bytes ${start}-${end}/${size}`,
    })
    createReadStream(file, { start, end }).pipe(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${server.address().port}/model.apr`, counts, server }
}

const { url, counts, server } = await serve(input)
try {
  // recordBytes and highWaterMark bound the ranges: each at most 256 KiB, 1 MiB under way.
  const report = await quantize(await openUrl(url), output, {
    mode: 'stream',
    recordBytes: 256 * 1024,
    highWaterMark: 1024 * 1024,
  })
  console.log(`${report.input}: ${report.inputBytes} bytes`)
  console.log(`${counts.requests} ranges, ${counts.bytes} bytes in all, at most ${counts.mostAtOnce} ranges at once`)
  console.log(`${report.output}: ${report.outputBytes} bytes`)
} finally {
  server.closeAllConnections()
  server.close()
}
