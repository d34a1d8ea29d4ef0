/**
 * What a user installs is small and does nothing by itself: no dependency runs a script when it is installed, every
 * package is pinned with its checksum, and every dependency is in docs/dependencies.md with its reason.
 */
import { readFileSync } from 'node:fs'

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
const { packages } = JSON.parse(read('package-lock.json'))
const { dependencies } = JSON.parse(read('package.json'))
const reasons = read('docs/dependencies.md')
const problems = []

for (const [path, entry] of Object.entries(packages)) {
  if (path === '') continue
  if (entry.resolved !== undefined) problems.push(`${path} names where it is downloaded from`)
  if (entry.integrity === undefined) problems.push(`${path} has no checksum`)
  if (entry.hasInstallScript && !entry.dev) problems.push(`${path} runs a script when it is installed`)
}
for (const name of Object.keys(dependencies)) {
  if (!reasons.includes(`\`${name}\``)) problems.push(`${name} is not in docs/dependencies.md`)
}

for (const problem of problems) console.error(problem)
console.log(
  `${Object.values(packages).filter((entry) => !entry.dev).length - 1} packages for users, ${problems.length} problems`,
)
process.exitCode = problems.length > 0 ? 1 : 0
