/** Models on the Hub: a commit for the whole run, one question a file, and the token for nobody else. */
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { convert, inspect, planConversion, quantize, type AprError } from 'apr-stream'
import { cli } from '../helpers/command.js'
import { goldenExpected, goldenFolder } from '../helpers/golden-hf.js'
import { sameBytes } from '../helpers/files.js'
import { serveFiles, type Served } from '../helpers/servers/http.js'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const MODEL = 'golden-qwen3moe-4x64'

interface Hub {
  readonly api: Served
  readonly cdn: Served
}

/** A Hub with one model, whose files come from another host by addresses that are good for some requests. */
async function serveHub(t: Test, { isGated = false, uses = Infinity } = {}): Promise<Hub> {
  const folder = goldenFolder(MODEL)
  const names = await fs.readdir(folder)
  const cdn = await serveFiles(t, Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))])))
  const used = new Map<string, number>()
  cdn.fault = ({ url = '' }) => {
    used.set(url, (used.get(url) ?? 0) + 1)
    return (used.get(url) ?? 0) > uses ? (_, response) => response.writeHead(403).end() : undefined
  }
  let signed = 0
  const json = (response: ServerResponse, body: unknown, headers = {}): void => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
  const route = ({ url = '', headers }: IncomingMessage, response: ServerResponse): boolean => {
    const [path = '', query = ''] = url.split('?')
    if (isGated && headers.authorization !== 'Bearer hf_secret') {
      response.writeHead(401, { 'x-error-code': 'GatedRepo' }).end()
    } else if (
      path === '/api/models/org/golden-qwen3moe-4x64/revision/main' ||
      path === '/api/models/org/golden-qwen3moe-4x64/revision/v1'
    ) {
      json(response, { sha: COMMIT })
    } else if (path === `/api/models/org/golden-qwen3moe-4x64/tree/${COMMIT}`) {
      // Two pages.
      const half = Math.ceil(names.length / 2)
      const page = query === '' ? names.slice(0, half) : names.slice(half)
      const link = query === '' ? { link: `<${path}?cursor=2>; rel="next"` } : {}
      json(
        response,
        page.map((name) => ({ type: 'file', path: name })),
        link,
      )
    } else if (path.startsWith(`/org/golden-qwen3moe-4x64/resolve/${COMMIT}/`)) {
      const name = decodeURIComponent(path.slice(`/org/golden-qwen3moe-4x64/resolve/${COMMIT}/`.length))
      if (!names.includes(name)) response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end()
      else response.writeHead(302, { location: `${cdn.url}/${name}?signature=${++signed}` }).end()
    } else {
      response
        .writeHead(404, { 'x-error-code': path.includes('/revision/') ? 'RevisionNotFound' : 'RepoNotFound' })
        .end()
    }
    return true
  }
  const api = await serveFiles(t, {}, route)
  setEnv(t, { HF_ENDPOINT: api.url, HF_TOKEN: 'hf_secret' })
  return { api, cdn }
}

function setEnv(t: Test, values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) {
    const before = process.env[name]
    if (value === undefined) Reflect.deleteProperty(process.env, name)
    else process.env[name] = value
    t.teardown(() => {
      if (before === undefined) Reflect.deleteProperty(process.env, name)
      else process.env[name] = before
    })
  }
}

async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const { code, message } = (await promise.then(
    () => ({ code: 'none', message: 'it succeeded' }),
    (e: unknown) => e,
  )) as AprError
  return { code, message }
}

void test('a model of the Hub becomes what its folder becomes, through addresses that expire', async (t) => {
  const { api, cdn } = await serveHub(t, { isGated: true, uses: 3 })
  const dir = t.testdir()
  const { pre } = await goldenExpected(MODEL)
  await quantize(goldenFolder(MODEL), join(dir, 'local.gguf'), { recipe: 'Q4_K_M', pre })
  await quantize('hf://org/golden-qwen3moe-4x64', join(dir, 'hub.gguf'), { recipe: 'Q4_K_M', pre, recordBytes: 40_000 })
  sameBytes(t, readFileSync(join(dir, 'hub.gguf')), readFileSync(join(dir, 'local.gguf')), 'the file')
  t.ok(api.requests.every(({ headers }) => headers.authorization === 'Bearer hf_secret'))
  t.ok(cdn.requests.every(({ headers }) => headers.authorization === undefined))
  t.ok(api.requests.filter(({ path }) => path.includes('/revision/')).length === 1, 'one commit')
})

void test('a plan reads what stands before the tensors, and asks once a file', async (t) => {
  const { api, cdn } = await serveHub(t)
  const { pre } = await goldenExpected(MODEL)
  const planned = await planConversion('hf://org/golden-qwen3moe-4x64@v1', { pre, to: 'gguf' })
  t.match(planned.input, `hf://org/golden-qwen3moe-4x64@${COMMIT}`)
  const asked = api.requests.map(({ path }) => path).filter((path) => path.includes('/resolve/'))
  t.equal(new Set(asked).size, asked.length, 'no file is asked for twice')
  t.ok(cdn.sent < planned.inputBytes, `${cdn.sent} bytes of ${planned.inputBytes}`)
})

void test('a file of a model is inspected by its URL, also from the command line', async (t) => {
  await serveHub(t)
  const { file, tensors } = await inspect('hf://org/golden-qwen3moe-4x64/model-00001-of-00003.safetensors')
  t.equal(file, `hf://org/golden-qwen3moe-4x64@${COMMIT}/model-00001-of-00003.safetensors`)
  t.ok(tensors.length > 0)
  const { stdout, code } = await cli([
    'inspect',
    `hf://org/golden-qwen3moe-4x64@${COMMIT}/model-00001-of-00003.safetensors`,
    '--json',
  ])
  t.equal(code, 0)
  t.equal((JSON.parse(stdout) as { file: string }).file, file)
})

void test('what is not there, or not for this user, is said so', async (t) => {
  await serveHub(t, { isGated: true })
  t.match(await failure(inspect('hf://org/other')), { code: 'APR_REMOTE', message: /no such (model|revision)/ })
  t.match(await failure(inspect('hf://org/golden-qwen3moe-4x64@none')), {
    code: 'APR_REMOTE',
    message: /no such revision/,
  })
  t.match(await failure(inspect('hf://org/golden-qwen3moe-4x64/none.gguf')), {
    code: 'APR_REMOTE',
    message: /no such file/,
  })
  t.match(await failure(inspect('hf://model')), { code: 'APR_BAD_OPTION', message: /hf:\/\/org\/model/ })
  setEnv(t, { HF_TOKEN: undefined, HF_TOKEN_PATH: join(t.testdir(), 'none') })
  const { code, message } = await failure(inspect('hf://org/golden-qwen3moe-4x64'))
  t.equal(code, 'APR_REMOTE')
  t.match(message, /gated.*HF_TOKEN/)
})

void test('a folder of another server is read by the names of its files', async (t) => {
  const folder = goldenFolder(MODEL)
  const names = await fs.readdir(folder)
  const files = Object.fromEntries(names.map((name) => [`deep/er/${name}`, readFileSync(join(folder, name))]))
  const served = await serveFiles(t, files)
  const dir = t.testdir()
  const { pre } = await goldenExpected(MODEL)
  const index = 'model.safetensors.index.json'
  await convert(`${served.url}/deep/er/${index}`, join(dir, 'a.gguf'), { pre })
  await convert(join(folder, index), join(dir, 'b.gguf'), { pre })
  const [far, near] = [readFileSync(join(dir, 'a.gguf')), readFileSync(join(dir, 'b.gguf'))]
  // The folder's name is another.
  sameBytes(t, far.subarray(-1_500_000), near.subarray(-1_500_000), 'the data')
})
