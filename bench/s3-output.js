/**
 * An output in object storage beside aws lib-storage's `Upload` of the same bytes, on loopback: versitygw in a process of its own,
 * each side in a process of its own, in turn. GB/s, CPU seconds a GB and peak memory.
 *
 *     npm ci --prefix bench && node bench/s3-output.js MODEL.apr [rounds]
 */
import { spawn, spawnSync } from 'node:child_process'
import { createReadStream, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

const [side, model, rounds = 3] = process.argv.slice(2)

if (side === 'ours') {
  const { convert } = await import('../dist/index.js')
  await measured(() => convert(model, 's3://bench/out.apr', { overwrite: true }))
} else if (side === 'lib-storage') {
  const [{ Upload }, { S3Client }] = await Promise.all([import('@aws-sdk/lib-storage'), import('@aws-sdk/client-s3')])
  const client = new S3Client({ forcePathStyle: true })
  const body = () => createReadStream(model, { highWaterMark: 1024 * 1024 })
  const upload = () => ({ Bucket: 'bench', Key: 'out.apr', Body: body(), ChecksumAlgorithm: 'CRC32' })
  await measured(() => new Upload({ client, params: upload(), partSize: 8 * 1024 * 1024, queueSize: 4 }).done())
} else {
  await compare(side, Number(model ?? rounds))
}

async function measured(work) {
  const before = process.cpuUsage()
  const started = performance.now()
  await work()
  const { user, system } = process.cpuUsage(before)
  const seconds = (performance.now() - started) / 1000
  const size = statSync(model).size / 1e9
  const peak = process.resourceUsage().maxRSS / 1024
  const cpu = (user + system) / 1e6 / size
  console.log(`${(size / seconds).toFixed(2)} GB/s, ${cpu.toFixed(2)} CPU s/GB, peak ${peak.toFixed(0)} MB`)
}

async function compare(file, times) {
  const folder = mkdtempSync(join(tmpdir(), 'apr-bench-'))
  mkdirSync(join(folder, 'bench'))
  const port = await freePort()
  const env = {
    ...process.env,
    PATH: [process.env.PATH, join(homedir(), 'go/bin')].join(delimiter),
    ...{ ROOT_ACCESS_KEY: 'test', ROOT_SECRET_KEY: 'testtest123' },
    ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testtest123', AWS_REGION: 'us-east-1' },
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
  }
  const server = spawn('versitygw', ['--port', `127.0.0.1:${port}`, '--quiet', 'posix', folder], {
    env,
    stdio: 'ignore',
  })
  try {
    while (!(await answers(port))) await new Promise((done) => setTimeout(done, 50))
    for (let round = 0; round < times; round++) {
      for (const name of ['ours', 'lib-storage']) {
        const { stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, name, file], { env })
        console.log(`${name}: ${String(stdout).trim() || String(stderr).trim()}`)
      }
    }
  } finally {
    server.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

async function answers(port) {
  const socket = connect(port, '127.0.0.1')
  const isOpen = await new Promise((done) => {
    socket.once('connect', () => done(true))
    socket.once('error', () => done(false))
  })
  socket.destroy()
  return isOpen
}
