/**
 * A remote source beside a plain download, on loopback: a server in a process of its own serves one file of zeros by ranges;
 * curl downloads it to nowhere, this package reads it in records of 2 MiB. GB/s, CPU seconds a GB and peak memory.
 *
 *     node bench/remote.js [bytes] [bytes a read] [reads at once]
 */
import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import { remoteSource } from '../dist/remote/index.js'

const [size = 4e9, readBytes = 2 * 1024 * 1024, together = 4] = process.argv.slice(2).map(Number)

if (process.argv[2] === 'serve') {
  const total = Number(process.argv[3])
  const zeros = Buffer.alloc(8 * 1024 * 1024)
  const server = createServer((request, response) => {
    const [, first = '0', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const [start, end] = [Number(first), Math.min(total, last === '' ? total : Number(last) + 1)]
    const range = request.headers.range ? { 'content-range': `bytes ${start}-${end - 1}/${total}` } : {}
    response.writeHead(request.headers.range ? 206 : 200, { etag: '"zeros"', 'content-length': end - start, ...range })
    let left = end - start
    const more = () => {
      while (left > 0) {
        const part = zeros.subarray(0, Math.min(left, zeros.length))
        left -= part.length
        if (!response.write(part)) return void response.once('drain', more)
      }
      response.end()
    }
    more()
  }).listen(0, '127.0.0.1', () => console.log(server.address().port))
} else {
  const server = spawn(process.execPath, [import.meta.filename, 'serve', String(size)])
  const port = String(await new Promise((done) => server.stdout.once('data', done))).trim()
  const url = `http://127.0.0.1:${port}/zeros`
  try {
    for (let round = 0; round < 3; round++) {
      const started = performance.now()
      const { status } = spawnSync('curl', ['-s', '-o', '/dev/null', url])
      const seconds = (performance.now() - started) / 1000
      console.log(`curl, one connection:  ${(size / seconds / 1e9).toFixed(2)} GB/s${status === 0 ? '' : ' (failed)'}`)
      await readAll(url)
    }
    console.log(`peak memory ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`)
  } finally {
    server.kill()
  }
}

async function readAll(url) {
  const source = await remoteSource(url)
  const before = process.cpuUsage()
  const started = performance.now()
  let next = 0
  const reader = async () => {
    const buffer = new Uint8Array(readBytes)
    while (next < source.size) {
      const at = next
      next += readBytes
      await source.read(buffer.subarray(0, Math.min(readBytes, source.size - at)), at)
    }
  }
  await Promise.all(Array.from({ length: together }, reader))
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(before)
  await source.close()
  const cpu = (user + system) / 1e6 / (size / 1e9)
  console.log(`this, ${together} ranges at once: ${(size / seconds / 1e9).toFixed(2)} GB/s, ${cpu.toFixed(2)} CPU s/GB`)
}
