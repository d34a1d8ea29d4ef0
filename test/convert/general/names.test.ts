import { test } from 'tap'
import fs from 'fs-extra'
import { nameParts, titleOf } from '../../../dist/convert/general/name-parts.js'
import { sizeLabel } from '../../../dist/convert/general/size-label.js'

interface Vectors {
  readonly components: readonly (Readonly<Record<string, string | null>> & { id: string; parameters: number })[]
  readonly size_label: readonly { label: string; total?: number; shared?: number; expert?: number; experts?: number }[]
}

const vectors = (await fs.readJson('test/fixtures/hf/names.json')) as Vectors

void test('names fall into the parts that the converter finds', (t) => {
  for (const { id, parameters, ...expected } of vectors.components) {
    const { name, organization, basename, finetune, version, sizeLabel } = nameParts(id, parameters)
    const made = {
      name: titleOf(name),
      organization: organization === undefined ? null : titleOf(organization),
      basename: basename ?? null,
      finetune: finetune ?? null,
      version: version ?? null,
      size_label: sizeLabel ?? null,
    }
    t.strictSame(made, expected, `${id} of ${parameters}`)
  }
  t.end()
})

void test('a number of parameters becomes the label that the converter makes of it', (t) => {
  for (const { label, total = 0, shared = 0, expert = 0, experts = 0 } of vectors.size_label) {
    t.equal(sizeLabel({ total, shared, expert, expertCount: experts }), label)
  }
  t.end()
})
