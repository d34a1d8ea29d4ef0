import { test } from 'tap'
import { goldenModels } from '../../helpers/golden-hf.js'
import { inGoldenFolder, goldenCommands, runGolden } from '../../helpers/golden-llama-quantize.js'

/** Of a model's command lines one in so many, others of the next model; `test/long/llama-quantize.ts` runs all. */
const STEP = 4

for (const [shift, model] of goldenModels().entries()) {
  void test(`command lines of ${model} write llama-quantize's files, or are refused as there`, async (t) => {
    const commands = goldenCommands(model).filter(({ files }, i) => !files || i % STEP === shift % STEP)
    await inGoldenFolder(t.testdir({}), model, async () => {
      for (const command of commands) {
        if (command.files) t.strictSame(await runGolden(command), command.files, command.name)
        else await t.rejects(runGolden(command), { name: 'AprError' }, command.name)
      }
    })
  })
}
