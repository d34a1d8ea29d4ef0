/** Writes `fixtures/hostile/*.apr`. What must be said about each file stands in `expected.json` there, by hand. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { HOSTILE_FILES } from './hostile-files.js'

const folder = new URL('../fixtures/hostile/', import.meta.url)

for (const name of readdirSync(folder)) {
  if (name.endsWith('.apr')) rmSync(new URL(name, folder))
}
for (const [name, bytes] of Object.entries(HOSTILE_FILES)) writeFileSync(new URL(`${name}.apr`, folder), bytes)
