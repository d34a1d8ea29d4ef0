/** The fit "refined" in jobs: of Q4_K, of recipes, on the command line. */
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { inspect, quantize, type QuantizeOptions } from 'apr-stream'
import { cli } from '../helpers/command.js'
import { SAMPLE } from '../helpers/files.js'
import { goldenFolder } from '../helpers/golden-hf.js'

void test('a recipe is made refined: the same dtypes and sizes, the same bytes in every mode, other bytes', async (t) => {
  const folder = goldenFolder('Golden-Llama-3.2-Instruct')
  const dir = t.testdir()
  const make = async (name: string, options: QuantizeOptions): Promise<Buffer> => {
    const output = join(dir, `${name}.gguf`)
    await quantize(folder, output, { recipe: 'Q4_K_M', pre: 'llama-bpe', ...options })
    return await fs.readFile(output)
  }
  const searched = await make('searched', {})
  const refined = await make('refined', { fit: 'refined', mode: 'stream', recordBytes: 4096 })
  t.ok(refined.equals(await make('memory', { fit: 'refined', mode: 'memory', threads: 1 })))
  t.equal(refined.length, searched.length)
  t.notOk(refined.equals(searched))
  const tensorsOf = async (name: string): Promise<unknown> => (await inspect(join(dir, name))).tensors
  t.same(await tensorsOf('refined.gguf'), await tensorsOf('searched.gguf'))

  const flags = ['-s', 'Q4_K_M', '--pre', 'llama-bpe', '--fit', 'refined', '-o', join(dir, 'cli.gguf')]
  t.equal((await cli(['quantize', folder, ...flags])).code, 0)
  t.ok(refined.equals(await fs.readFile(join(dir, 'cli.gguf'))))
})

void test('Q4_K by a rule is made refined', async (t) => {
  const dir = t.testdir()
  await quantize(SAMPLE, join(dir, 'a.apr'), { fit: 'refined', mode: 'stream', recordBytes: 4096 })
  await quantize(SAMPLE, join(dir, 'b.apr'), { fit: 'refined', mode: 'memory' })
  await quantize(SAMPLE, join(dir, 'c.apr'), {})
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => fs.readFile(join(dir, `${name}.apr`))))
  t.ok(a?.equals(b ?? Buffer.alloc(0)))
  t.notOk(a?.equals(c ?? Buffer.alloc(0)))
})

void test('a recipe takes no fit minmax', async (t) => {
  const output = join(t.testdir(), 'out.gguf')
  await t.rejects(quantize(SAMPLE, output, { recipe: 'Q4_K_M', fit: 'minmax' }), { code: 'APR_BAD_OPTION' })
  const { code, stderr } = await cli(['quantize', SAMPLE, '-s', 'Q4_K_M', '--fit', 'minmax', '-o', output])
  t.equal(code, 2)
  t.match(stderr, '--fit minmax cannot be had with --scheme Q4_K_M')
})
