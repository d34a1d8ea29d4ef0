import { join } from 'node:path'
import { test, type Test } from 'tap'
import {
  aprReader,
  aprWriter,
  filterTensors,
  mapMetadata,
  mapTensors,
  plan,
  q4k,
  quantize,
  type TensorInfo,
} from 'apr-stream'
import { arbitraryTensor, filesIn, MemorySource, modelBytes, readModel, run } from '../helpers/files.js'

const METADATA = '{"name":"m","eps":1e-06}'
const FILE = modelBytes({
  tensors: [arbitraryTensor('a.weight', 'F32', [2, 256]), arbitraryTensor('b.bias', 'F32', [8])],
  metadata: METADATA,
})

/** Runs the model through a stage; what it fails with, after which nothing may be left. */
async function failureIn(t: Test, stage: unknown): Promise<unknown> {
  const folder = t.testdir()
  const source = new MemorySource(FILE)
  const failure = await run([aprReader(source), stage, aprWriter(join(folder, 'out.apr'))]).then(
    () => undefined,
    (error: unknown) => error,
  )
  t.equal(source.closed, 1, 'the source is closed')
  t.same(filesIn(folder), failure ? [] : ['out.apr'])
  return failure
}

/** Answers that are taken for true or false, with how a message names them. */
const NO_BOOLEANS: [() => unknown, string][] = [
  [() => undefined, 'undefined'],
  [() => null, 'null'],
  [() => 0, '0'],
  [() => 1, '1'],
  [() => '', 'an empty text'],
  [() => 'yes', 'the text "yes"'],
  [() => ({}), 'an object'],
  [() => [], 'an array'],
  [() => Promise.resolve(false), 'a promise'],
  [() => Promise.reject(new Error('too late')), 'a promise'],
  [() => ({ then: () => undefined }), 'a promise'],
]

void test('select and the function of filterTensors say true or false and nothing else', async (t) => {
  for (const [answer, named] of NO_BOOLEANS) {
    const atOnce = named === 'a promise' ? ' at once' : ''
    const message = (name: string): string =>
      `expected ${name} to return true or false${atOnce}, found ${named} (tensor "a.weight"`
    const select = answer as () => boolean
    const expected = { code: 'APR_BAD_OPTION', tensor: 'a.weight' }
    t.match(await failureIn(t, q4k({ select })), { ...expected, message: message('select') }, `select: ${named}`)
    t.match(
      await failureIn(t, filterTensors(select)),
      { ...expected, message: message('keep of filterTensors') },
      `filterTensors: ${named}`,
    )
    await t.rejects(plan(new MemorySource(FILE), { select }), { ...expected, message: message('select') })
    const folder = t.testdir()
    await t.rejects(quantize(new MemorySource(FILE), join(folder, 'out.apr'), { select }), expected)
    t.same(filesIn(folder), [])
  }
})

void test('mapTensors takes an object of name, dtype and shape, and nothing else', async (t) => {
  const refused: [unknown, string][] = [
    [undefined, 'an object, found undefined'],
    [null, 'an object, found null'],
    ['a', 'an object, found the text "a"'],
    [[], 'an object, found an array'],
    [new Map(), 'an object, found an object of the class Map'],
    [Promise.resolve({ name: 'b' }), 'an object at once, found a promise'],
    [{ nmae: 'b' }, 'no fields but name, dtype and shape, found the text "nmae"'],
    [{ data: new Uint8Array(1) }, 'no fields but name, dtype and shape, found the text "data"'],
    [{ size: 4 }, 'the size that it was given, 2048 bytes, found 4'],
    [{ name: 1 }, 'a name that is a text, found 1'],
    [{ name: null }, 'a name that is a text, found null'],
    [{ dtype: 30 }, 'a dtype that is a text, found 30'],
    [{ shape: 512 }, 'a shape that is an array, found 512'],
    [{ shape: Uint32Array.of(2, 256) }, 'a shape that is an array, found an object of the class Uint32Array'],
    [{ shape: ['2', '256'] }, 'a shape of whole numbers, 0 or more, found the text "2"'],
    [{ shape: [-2, -256] }, 'a shape of whole numbers, 0 or more, found -2'],
    [{ shape: [0.5, 1024] }, 'a shape of whole numbers, 0 or more, found 0.5'],
    [{ shape: [NaN] }, 'a shape of whole numbers, 0 or more, found NaN'],
    // eslint-disable-next-line no-sparse-arrays
    [{ shape: [2, , 256] }, 'a shape of whole numbers, 0 or more, found undefined'],
  ]
  for (const [value, what] of refused) {
    const stage = mapTensors((({ name }: TensorInfo) => (name === 'a.weight' ? value : {})) as () => never)
    const message = `expected change of mapTensors to return ${what} (tensor "a.weight"`
    t.match(await failureIn(t, stage), { code: 'APR_BAD_OPTION', tensor: 'a.weight', message }, what)
  }
})

void test('mapTensors keeps what is undefined or given back as it was, and no array of the caller', async (t) => {
  const output = join(t.testdir(), 'out.apr')
  const given: number[][] = []
  const flatten = ({ name }: TensorInfo): { shape?: number[] | undefined } => {
    if (name !== 'x.a.weight') return { shape: undefined }
    given.push([512])
    return { shape: given.at(-1) }
  }
  await run([
    aprReader(new MemorySource(FILE), { recordBytes: 1024 }),
    mapTensors((tensor) => ({ ...tensor, name: `x.${tensor.name}`, dtype: undefined })),
    mapTensors(flatten),
    filterTensors(() => {
      for (const shape of given) shape[0] = 7
      return true
    }),
    aprWriter(output),
  ])
  t.match(readModel(output).tensors, [
    { name: 'x.a.weight', dtype: 'F32', shape: [512] },
    { name: 'x.b.bias', dtype: 'F32', shape: [8] },
  ])
})

void test('mapMetadata takes an object or undefined', async (t) => {
  for (const [value, named] of [
    [null, 'null'],
    [true, 'true'],
    ['{}', 'the text "{}"'],
    [[['name', 'n']], 'an array'],
    [new Map([['name', 'n']]), 'an object of the class Map'],
    [Promise.resolve({ name: 'n' }), 'a promise'],
  ] as [unknown, string][]) {
    const atOnce = named === 'a promise' ? ' at once' : ''
    const message = `expected change of mapMetadata to return an object or undefined${atOnce}, found ${named}`
    t.match(
      await failureIn(
        t,
        mapMetadata(() => value as undefined),
      ),
      { code: 'APR_BAD_OPTION', message },
      named,
    )
  }
  const output = join(t.testdir(), 'out.apr')
  await run([aprReader(new MemorySource(FILE)), mapMetadata(() => undefined), aprWriter(output)])
  t.equal(readModel(output).metadata, METADATA)
})

void test('metadata that JSON would make null or leave out is refused, at any depth', async (t) => {
  const refused: [unknown, string][] = [
    [NaN, 'NaN'],
    [-Infinity, '-Infinity'],
    [1n, '1n'],
    [(): number => 1, 'a function'],
    [Symbol('s'), 'Symbol(s)'],
    [new Map([['a', 1]]), 'an object of the class Map'],
    [Float32Array.of(1), 'an object of the class Float32Array'],
    [/x/, 'an object of the class RegExp'],
    [Promise.resolve(1), 'a promise'],
  ]
  for (const [value, named] of refused) {
    for (const [depth, nested] of Object.entries({ itself: value, array: [1, [value]], object: { a: { b: value } } })) {
      const message = `expected a JSON value for "eps", found ${named}`
      const failure = await failureIn(
        t,
        mapMetadata(() => ({ eps: nested })),
      )
      t.match(failure, { code: 'APR_BAD_METADATA', message }, `${named}: ${depth}`)
    }
  }
  const message = 'expected a JSON value for "list", found undefined'
  t.match(
    await failureIn(
      t,
      mapMetadata(() => ({ list: [1, undefined] })),
    ),
    { code: 'APR_BAD_METADATA', message },
  )
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  t.match(
    await failureIn(
      t,
      mapMetadata(() => ({ cycle })),
    ),
    { code: 'APR_BAD_METADATA' },
  )
})

void test('metadata takes every value that JSON holds', async (t) => {
  class Version {
    major = 1
    toJSON(): string {
      return `v${this.major}`
    }
  }
  const output = join(t.testdir(), 'out.apr')
  const changes = {
    values: [null, true, 0, -0, 1e-7, 'é', [], {}, Object.create(null)],
    optional: { is: 1, isNot: undefined },
    date: new Date(0),
    version: new Version(),
  }
  await run([aprReader(new MemorySource(FILE)), mapMetadata(() => changes), aprWriter(output)])
  const { values, optional, date, version } = JSON.parse(readModel(output).metadata) as Record<string, unknown>
  t.strictSame({ values, optional, date, version }, JSON.parse(JSON.stringify(changes)))
})

void test('onProgress that returns a promise is refused, and its rejection ends nothing', async (t) => {
  for (const mode of ['stream', 'memory'] as const) {
    for (const onProgress of [
      () => Promise.resolve(),
      () => Promise.reject(new Error('too late')),
    ] as unknown as (() => void)[]) {
      const folder = t.testdir()
      const source = new MemorySource(FILE)
      const message = 'expected onProgress to return nothing at once, found a promise'
      const job = quantize(source, join(folder, 'out.apr'), { mode, onProgress })
      await t.rejects(job, { code: 'APR_BAD_OPTION', message }, mode)
      t.equal(source.closed, 1)
      t.same(filesIn(folder), [])
    }
  }
  // What is there at once is nobody's business: an arrow function returns what its one call does.
  const calls: number[] = []
  const output = join(t.testdir(), 'out.apr')
  await quantize(new MemorySource(FILE), output, { onProgress: ({ bytes }) => calls.push(bytes) })
  t.ok(calls.length > 0)
})
