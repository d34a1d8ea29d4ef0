import { createReadStream } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fs from 'fs-extra'
import { test, type Test } from 'tap'
import { convert, ggufWriter, safetensorsReader, toGguf } from 'apr-stream'
import { readConfig } from '../../dist/convert/config/read-config.js'
import { firstKvs, hparamKvs } from '../../dist/convert/hparams.js'
import { planTensors } from '../../dist/convert/plan-tensors.js'
import { kvValue } from '../../dist/formats/formats.js'
import type { GoldenExpected } from '../helpers/golden-hf.js'
import { convertTensor, loadHf, sha256 } from '../helpers/hf-folder.js'
import { TINY, writeTiny } from '../helpers/tiny-hf.js'

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

for (const [name, { fp8Block }] of Object.entries(TINY)) {
  void test(`${name} becomes what the converter makes of it`, async (t) => {
    const root = t.testdir({})
    const folder = await writeTiny(name, root)
    const expected = (await fs.readJson(join('test/fixtures/hf/tiny', `${name}.json`))) as GoldenExpected
    if (!fp8Block) await checkParts(t, folder, expected)
    for (const outtype of ['auto', 'f32', 'f16', 'bf16'] as const) {
      const output = join(root, `${outtype}.gguf`)
      // The reader rounds weights in FP8 to BF16, of which nothing else is made.
      if (fp8Block && (outtype === 'f32' || outtype === 'f16')) {
        const stages = pipeline(safetensorsReader(folder), toGguf({ outtype, pre: 'qwen2' }), ggufWriter(output))
        await t.rejects(stages, { code: 'APR_UNSUPPORTED', message: /stored in FP8 .* found F(16|32) to be made/ })
        await convert(folder, output, { outtype, pre: 'qwen2' })
      } else {
        await pipeline(safetensorsReader(folder), toGguf({ outtype, pre: 'qwen2' }), ggufWriter(output))
      }
      const { sha256: hash } = outtype === 'auto' ? expected.convert : expected.outtypes[outtype]
      t.equal(await sha256OfFile(output), hash, outtype)
    }
    t.end()
  })
}

/** Pairs and tensors one by one: what differs is named. */
async function checkParts(t: Test, folder: string, expected: GoldenExpected): Promise<void> {
  const loaded = await loadHf(folder)
  const found = readConfig(loaded.hf)
  const plan = planTensors(found, loaded.hf, 'auto')

  const { kv, tensors } = expected.convert
  const start = kv.findIndex(({ key }) => /^(\w+)\.(block_count|context_length)$/.test(key))
  const end = kv.findIndex(({ key }) => key === 'general.quantization_version')
  const plain = hparamKvs(found, plan.fileType).map((pair) => ({ ...pair, data: undefined, value: kvValue(pair) }))
  const wanted = kv.slice(start, end).map(({ key, type, value }) => ({ key, type, value, data: undefined }))
  t.strictSame(plain, wanted)
  const behindArchitecture = kv.slice(
    1,
    kv.findIndex(({ key }) => key === 'general.type'),
  )
  t.strictSame(
    firstKvs(found).map(({ key }) => key),
    behindArchitecture.map(({ key }) => key),
  )

  const made = plan.tensors.map((target) => {
    const { name: own, dtype, shape, size } = target.tensor
    const hash = sha256(convertTensor(target, loaded))
    return { name: own, dims: [...shape].reverse(), dtype, bytes: size, sha256: hash }
  })
  t.strictSame(made, tensors)
}
