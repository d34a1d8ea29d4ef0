/**
 * Makes a module of the page of reports: its program for browsers, its style, and the licenses of the libraries in it. Run by
 * the build, and by itself after a change in `src/page/`.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSync } from 'esbuild'

const root = join(import.meta.dirname, '..')

const page = buildSync({
  entryPoints: [join(root, 'src/page/page.ts')],
  bundle: true,
  minify: true,
  platform: 'browser',
  target: ['chrome111', 'firefox113', 'safari16.4'],
  format: 'iife',
  charset: 'ascii',
  legalComments: 'none',
  metafile: true,
  write: false,
})
// The text of an element, and not an end of it.
const program = page.outputFiles[0].text.replaceAll('</script', '<\\/script')
const style = buildSync({ entryPoints: [join(root, 'src/page/page.css')], minify: true, write: false })
const packages = new Map()
for (const path of Object.keys(page.metafile.inputs)) {
  const [folder, name] = /^.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? []
  if (folder === undefined || packages.has(name)) continue
  const file = ['LICENSE', 'LICENSE.md', 'LICENSE.txt'].map((one) => join(root, folder, one)).find(existsSync)
  if (file === undefined) throw new Error(`${name} has no license beside it, expected LICENSE`)
  packages.set(name, readFileSync(file, 'utf8').trim())
}
const names = (text) => [...packages].flatMap(([name, other]) => (other === text ? [name] : [])).join(', ')
const notices = [...new Set(packages.values())].map((text) => `${names(text)}:\n${text}`).join('\n\n')
writeFileSync(
  join(root, 'dist/quality/page-source.js'),
  Object.entries({
    pageProgram: program,
    pageProgramHash: createHash('sha256').update(program).digest('base64'),
    pageStyle: style.outputFiles[0].text,
    pageNotices: notices.replaceAll('--', '- -'),
  })
    .map(([name, text]) => `export const ${name} = ${JSON.stringify(text)}\n`)
    .join(''),
)
