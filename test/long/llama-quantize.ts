/** Every golden command line of llama-quantize: `npx tap test/long/llama-quantize.ts --timeout=3600`, some minutes. */
import { test } from 'tap'
import { goldenModels } from '../helpers/golden-hf.js'
import { inGoldenFolder, goldenCommands, runGolden } from '../helpers/golden-llama-quantize.js'

for (const model of goldenModels()) {
  void test(`every command line of ${model} writes llama-quantize's files, or is refused as there`, async (t) => {
    await inGoldenFolder(t.testdir({}), model, async () => {
      for (const command of goldenCommands(model)) {
        if (command.files) t.strictSame(await runGolden(command), command.files, command.name)
        else await t.rejects(runGolden(command), { name: 'AprError' }, command.name)
      }
    })
  })
}
