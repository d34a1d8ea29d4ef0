import { test } from 'tap'
import { decideRecipe } from '../../dist/recipes/decide.js'
import { answerOf, DRY_RUNS, readAnswers } from '../helpers/dry-runs.js'
import { REAL_SHAPES, realModel } from '../helpers/real-shapes.js'

// llama.cpp's answers were written down by test/llama/recipes.ts.
for (const name of REAL_SHAPES) {
  void test(`${name}: every recipe decides what the quantizer of llama.cpp decides`, async (t) => {
    const answers = (await readAnswers())[name]
    const model = realModel(name)
    const different = DRY_RUNS.filter(({ key, settings }) => {
      return answerOf(decideRecipe(model, settings)) !== answers?.[key]
    })
    t.strictSame(
      different.map(({ key }) => key),
      [],
    )
    t.end()
  })
}
