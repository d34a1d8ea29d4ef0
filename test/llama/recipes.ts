/**
 * Recipes decide what llama.cpp's own quantizer decides, on models of real shapes: files without data, of up to hundreds of
 * gigabytes, of which a dry run reads the start. Part of `npm run check-llama`. Where the library cannot be had the
 * check is skipped, and says so.
 *
 * With `RECIPES_FIXTURE=write` it also writes the answers down, for `test/recipes/dry-runs.test.ts`.
 */
import { gzipSync } from 'node:zlib'
import { join } from 'node:path'
import fs from 'fs-extra'
import { test } from 'tap'
import { FORMATS, type GgufModel } from '../../dist/formats/formats.js'
import { decideRecipe } from '../../dist/recipes/decide.js'
import { ANSWERS_FILE, DRY_RUNS, lettersOf } from '../helpers/dry-runs.js'
import { REAL_SHAPES, realModel } from '../helpers/real-shapes.js'
import { quantizerOrWhyNot } from './quantizer.js'

/** A file with everything of a model but its data. */
async function writeSparse(path: string, model: GgufModel): Promise<void> {
  const [file] = FORMATS.gguf.layout(model, { name: path, isFolder: false }).files
  await fs.writeFile(path, file.head())
  await fs.truncate(path, file.fileSize)
}

void test('recipes decide what the quantizer of llama.cpp decides', async (t) => {
  const dryRun = quantizerOrWhyNot()
  if (typeof dryRun === 'string') {
    void t.test({ name: 'llama.cpp', skip: dryRun }, (skipped) => skipped.end())
    return
  }
  const answers: Record<string, Record<string, string>> = {}
  let count = 0
  for (const name of REAL_SHAPES) {
    const model = realModel(name)
    const path = join(t.testdir(), 'model.gguf')
    await writeSparse(path, model)
    const own: Record<string, string> = {}
    const different: string[] = []
    for (const { key, settings } of DRY_RUNS) {
      const theirs = dryRun(path, settings)
      if (!theirs) {
        different.push(`${key}: refused`)
        continue
      }
      own[key] = lettersOf(theirs.map(({ dtype }) => dtype))
      count += theirs.length
      if (theirs.length !== model.tensors.length) different.push(`${key}: ${theirs.length} tensors`)
      decideRecipe(model, settings).forEach(({ to }, i) => {
        const other = theirs[i]
        if (to.name !== other?.name || to.dtype !== other.dtype) {
          different.push(`${key}: ${to.name} ${to.dtype}, not ${other?.name ?? ''} ${other?.dtype ?? ''}`)
        }
      })
    }
    t.strictSame(different, [], name)
    answers[name] = own
    await fs.remove(path)
  }
  t.comment(`${count} decisions`)
  if (process.env['RECIPES_FIXTURE'] === 'write') {
    await fs.outputFile(ANSWERS_FILE, gzipSync(JSON.stringify(answers), { level: 9 }))
  }
})
