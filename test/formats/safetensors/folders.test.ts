/** Folders of shards: which files are the model, in what order, and what does not make one. */
import { basename, join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { AprError, modelReader, safetensorsReader, type SafetensorsModel } from 'apr-stream'
import { tensorsFile, type FileTensor } from '../../helpers/safetensors-file.js'

const HOSTILE = 'test/fixtures/hf/hostile/folders'
const INDEX = 'model.safetensors.index.json'

const tensor = (name: string, ...values: number[]): FileTensor => {
  return { name, dtype: 'U8', shape: [values.length], bytes: Buffer.from(values) }
}
const index = (map: object): string => JSON.stringify({ metadata: { total_size: 1 }, weight_map: map })

/** The names with their bytes, in the order of the stream, and the model. */
async function read(path: string): Promise<{ tensors: [string, number[]][]; model: SafetensorsModel }> {
  const tensors: [string, number[]][] = []
  let model: SafetensorsModel | undefined
  for await (const record of safetensorsReader(path)) {
    tensors.push([record.name, [...record.data]])
    model = record.model as SafetensorsModel
  }
  if (!model) throw new Error('no tensors')
  return { tensors, model }
}

async function failureOf(path: string): Promise<AprError> {
  try {
    await read(path)
  } catch (error) {
    if (error instanceof AprError) return error
    throw error
  }
  throw new Error('it was read')
}

void test('shards in the order of their names, in each the tensors in that of theirs; other files are left alone', async (t) => {
  const folder = t.testdir({
    'model-00002-of-00002.safetensors': tensorsFile([tensor('c', 3), tensor('b', 2)], { shard: '2' }),
    'model-00001-of-00002.safetensors': tensorsFile([tensor('z', 9), tensor('a', 1)], { format: 'pt' }),
    'consolidated.safetensors': tensorsFile([tensor('another name', 7)]),
    'config.json': '{ "a": 1 }',
    'tokenizer.json': '{}',
    'notes.txt': 'not of the model',
  })
  const expected = [['a', [1]], ['z', [9]], ['b', [2]], ['c', [3]]] // prettier-ignore
  const without = await read(folder)
  t.strictSame(without.tensors, expected, 'without an index')
  const map = { a: 1, b: 2, c: 2, z: 1 }
  const named = Object.entries(map).map(([name, shard]) => [name, `model-0000${shard}-of-00002.safetensors`])
  await fs.writeFile(join(folder, INDEX), index(Object.fromEntries(named) as object))
  for (const path of [folder, `${folder}/`, join(folder, INDEX)]) {
    const { tensors, model } = await read(path)
    t.strictSame(tensors, expected, path)
    t.equal(model.folder, basename(folder))
    t.strictSame(model.metadata, { format: 'pt' })
    t.strictSame([...model.files.keys()], ['config.json', 'tokenizer.json'])
    t.equal(Buffer.from(model.files.get('config.json') ?? '').toString(), '{ "a": 1 }')
  }
  t.strictSame((await read(join(folder, 'consolidated.safetensors'))).tensors, [['another name', [7]]])
  t.strictSame((await read(join(folder, 'model-00002-of-00002.safetensors'))).tensors, expected.slice(2), 'one shard')
  const records = []
  for await (const { name } of modelReader(folder)) records.push(name)
  t.strictSame(records, ['a', 'z', 'b', 'c'], 'modelReader')
})

void test('a folder of links, as in a cache of Hugging Face, is read by the names in it', async (t) => {
  const cache = t.testdir({
    blobs: {
      ...{ aa: tensorsFile([tensor('a', 1)]), bb: tensorsFile([tensor('b', 2)]), cc: '{}' },
      dd: index({ a: 'model-1.safetensors', b: 'model-2.safetensors' }),
    },
    'A-Model': {
      ...{ 'model-1.safetensors': t.fixture('symlink', '../blobs/aa') },
      ...{ 'model-2.safetensors': t.fixture('symlink', '../blobs/bb') },
      ...{ 'config.json': t.fixture('symlink', '../blobs/cc'), [INDEX]: t.fixture('symlink', '../blobs/dd') },
    },
    'Another-Name': t.fixture('symlink', 'A-Model'),
  })
  for (const path of ['A-Model', `A-Model/${INDEX}`, 'Another-Name']) {
    const { tensors, model } = await read(join(cache, path))
    t.strictSame(tensors, [['a', [1]], ['b', [2]]], path) // prettier-ignore
    t.equal(model.folder, path.replace(/\/.*/, ''))
    t.ok(model.files.has('config.json'))
  }
  const { tensors, model } = await read(join(cache, 'A-Model/model-2.safetensors'))
  t.strictSame(tensors, [['b', [2]]])
  t.equal(model.folder, 'A-Model')
})

void test('chat templates of a folder in the folder are read, in the order of their names, and no other file there', async (t) => {
  const files = { 'tool_use.jinja': 'b', 'rag.jinja': 'a', 'notes.txt': 'c' }
  const folder = t.testdir({
    ...{ 'model.safetensors': tensorsFile([tensor('a', 1)]), 'tekken.json': '{}' },
    additional_chat_templates: files,
  })
  const templates = ['rag', 'tool_use'].map((name) => `additional_chat_templates/${name}.jinja`)
  t.strictSame([...(await read(folder)).model.files.keys()], ['tekken.json', ...templates])
  const odd = t.testdir({ 'model.safetensors': tensorsFile([tensor('a', 1)]), additional_chat_templates: 'a file' })
  t.strictSame([...(await read(odd)).model.files.keys()], [])
})

/** By folder: the code and parts of the message. */
const REFUSED: Readonly<Record<string, readonly [code: string, ...what: string[]]>> = {
  '01-missing-shard': ['APR_BAD_INDEX', 'the shard model-00002-of-00002.safetensors', INDEX, 'no such file'],
  '02-shard-outside': ['APR_BAD_INDEX', 'a file in the same folder', '../outside.safetensors'],
  '03-duplicate-tensor': ['APR_BAD_INDEX', 'found one twice', 'model-00001-of-00002', 'model-00002-of-00002'],
  '04-index-and-single-file': ['APR_BAD_INDEX', INDEX, 'found both', 'left over'],
  '05-stale-index': ['APR_BAD_INDEX', INDEX, 'found both', 'left over'],
  '06-no-index-extra-file': ['APR_BAD_INDEX', 'found one twice', 'model-old.safetensors', 'model.safetensors'],
  '18-overlapping-offsets': ['APR_BAD_INDEX', 'on the bytes of another tensor'],
}
for (const [name, [code, ...what]] of Object.entries(REFUSED)) {
  void test(`${name} is refused`, async (t) => {
    const error = await failureOf(join(HOSTILE, name))
    t.equal(error.code, code)
    for (const part of what) t.ok(error.what.includes(part), `${part}: ${error.what}`)
    t.ok(error.file?.startsWith(join(HOSTILE, name)), String(error.file))
  })
}

void test('00-good is read', async (t) => {
  const { tensors, model } = await read(join(HOSTILE, '00-good'))
  t.ok(tensors.length > 5)
  t.strictSame([...model.files.keys()], ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
})

void test('of two files that both may be the model each can be given by its own name', async (t) => {
  const folder = join(HOSTILE, '04-index-and-single-file')
  const one = await read(join(folder, 'model.safetensors'))
  const other = await read(join(folder, INDEX))
  t.strictSame(one.tensors.map(([name]) => name).sort(), other.tensors.map(([name]) => name).sort())
  t.notSame(one.tensors, other.tensors)
})

const A = tensorsFile([tensor('a', 1)])
const FOLDERS: Readonly<Record<string, readonly [files: object, ...what: string[]]>> = {
  'an empty folder': [{}, 'model.safetensors', INDEX, 'found none of them'],
  'a folder of another kind': [{ 'pytorch_model.bin': 'x', 'q.gguf': 'y', 'a.txt': '' }, 'found none of them, but', 'pytorch_model.bin', 'q.gguf'],
  'an index that is no JSON': [{ [INDEX]: '{' }, 'an index of JSON in UTF-8'],
  'an index without a map': [{ [INDEX]: '{"metadata":{}}' }, 'weight_map', 'found undefined'],
  'an index of nothing': [{ [INDEX]: index({}) }, 'weight_map', 'found an object'],
  'an index of numbers': [{ [INDEX]: index({ a: 1 }) }, 'weight_map', 'found 1'],
  'a shard by an absolute path': [{ [INDEX]: index({ a: '/etc/passwd' }) }, 'a file in the same folder', '/etc/passwd'],
  'a shard in a folder below': [{ [INDEX]: index({ a: 'b/a.safetensors' }), b: { 'a.safetensors': A } }, 'a file in the same folder'],
  'a shard behind a backslash': [{ [INDEX]: index({ a: String.raw`..\a.safetensors` }) }, 'a file in the same folder'],
  'a shard that is the folder': [{ [INDEX]: index({ a: '..' }) }, 'a file in the same folder'],
  'a shard that is a folder': [{ [INDEX]: index({ a: 'a.safetensors' }), 'a.safetensors': {} }, 'no such file'],
  'a tensor that the index lacks': [{ [INDEX]: index({ a: 'x.safetensors' }), 'x.safetensors': tensorsFile([tensor('a', 1), tensor('b', 2)]) }, 'a tensor in x.safetensors, and no such tensor in the index'],
  'a tensor that the shard lacks': [{ [INDEX]: index({ a: 'x.safetensors', b: 'x.safetensors' }), 'x.safetensors': A }, 'expected the tensor in x.safetensors', 'found none'],
  'a tensor in another shard': [{ [INDEX]: index({ a: 'x.safetensors', b: 'y.safetensors' }), 'x.safetensors': tensorsFile([tensor('b', 1)]), 'y.safetensors': A }, 'a tensor in x.safetensors, and y.safetensors in the index'],
  'a shard that is no safetensors': [{ [INDEX]: index({ a: 'x.safetensors' }), 'x.safetensors': 'version https://git-lfs.github.com/spec/v1' }, 'a header of at most'],
} // prettier-ignore
for (const [name, [files, ...what]] of Object.entries(FOLDERS)) {
  void test(`refused: ${name}`, async (t) => {
    const error = await failureOf(t.testdir(files as Parameters<typeof t.testdir>[0]))
    for (const part of what) t.ok(error.what.includes(part), `${part}: ${error.what}`)
  })
}
