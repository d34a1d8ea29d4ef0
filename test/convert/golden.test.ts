import { test } from 'tap'
import { readConfig } from '../../dist/convert/config/read-config.js'
import { firstKvs, hparamKvs } from '../../dist/convert/hparams.js'
import type { Outtype } from '../../dist/convert/hf-model.js'
import { planTensors } from '../../dist/convert/plan-tensors.js'
import { kvValue } from '../../dist/formats/formats.js'
import { goldenExpected, goldenFolder, goldenModels } from '../helpers/golden-hf.js'
import { convertTensor, loadHf, sha256 } from '../helpers/hf-folder.js'

const FILE_TYPES = { f32: 0, f16: 1, bf16: 32 } as const

for (const name of goldenModels()) {
  void test(`tensors and hyperparameters of ${name} are the converter's`, async (t) => {
    const loaded = await loadHf(goldenFolder(name))
    const { convert, outtypes } = await goldenExpected(name)
    const found = readConfig(loaded.hf)
    const plan = planTensors(found, loaded.hf, 'auto')

    const start = convert.kv.findIndex(({ key }) => key.endsWith('.block_count'))
    const end = convert.kv.findIndex(({ key }) => key === 'general.quantization_version')
    const kvs = hparamKvs(found, plan.fileType).map((pair) => ({
      key: pair.key,
      type: pair.type,
      value: kvValue(pair),
    }))
    t.strictSame(kvs, convert.kv.slice(start, end))
    t.strictSame(firstKvs(found), [])

    const made = plan.tensors.map((target) => {
      const { tensor } = target
      const bytes = convertTensor(target, loaded)
      const { name: own, dtype, shape, size } = tensor
      return { name: own, dims: [...shape].reverse(), dtype, bytes: size, sha256: sha256(bytes) }
    })
    const expected = convert.tensors.map(({ name: own, dims, dtype, bytes, sha256: hash }) => {
      return { name: own, dims, dtype, bytes, sha256: hash }
    })
    t.strictSame(made, expected)

    for (const outtype of ['f32', 'f16', 'bf16'] as const) {
      const other = planTensors(found, loaded.hf, outtype)
      t.equal(other.fileType, FILE_TYPES[outtype])
      const types = Object.fromEntries(other.tensors.map(({ tensor }) => [tensor.name, tensor.dtype]))
      t.strictSame(types, outtypes[outtype].types)
    }
    t.end()
  })
}

void test('the order of tensors is that of the shards, whatever the order of experts in them', async (t) => {
  const loaded = await loadHf(goldenFolder('golden-qwen3moe-4x64'))
  const found = readConfig(loaded.hf)
  const shuffled = [...loaded.hf.tensors].reverse()
  const plan = (tensors: typeof shuffled, outtype: Outtype = 'auto') =>
    planTensors(found, { ...loaded.hf, tensors }, outtype).tensors
  const [forth, back] = [plan([...loaded.hf.tensors]), plan(shuffled)]
  t.strictSame(back.map(({ tensor }) => tensor.name).sort(), forth.map(({ tensor }) => tensor.name).sort())
  const byName = new Map(forth.map((target) => [target.tensor.name, target]))
  for (const target of back) t.strictSame(target, byName.get(target.tensor.name))
  t.end()
})
