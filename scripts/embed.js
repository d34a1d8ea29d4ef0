/**
 * Makes modules of what the package would else read from its folder at run time: its version, the WebAssembly and the
 * program of the worker threads. So a bundle of the package is whole, whichever tool made it. Run by the build.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSync } from 'esbuild'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

/** Writes `dist/<path>`, which `src/` declares under the same name. */
function write(path, name, text) {
  writeFileSync(join(dist, path), `export const ${name} = ${JSON.stringify(text)}\n`)
}

write('version.js', 'VERSION', JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version)
write('quant/kernel-wasm.js', 'kernelWasm', readFileSync(join(dist, 'quant/kernel.wasm'), 'base64'))
write('quality/errors-wasm.js', 'errorsWasm', readFileSync(join(dist, 'quality/errors.wasm'), 'base64'))
write('checksum/crc32-wasm.js', 'crc32Wasm', readFileSync(join(dist, 'checksum/crc32.wasm'), 'base64'))

// CommonJS: what a Worker takes as text is a script.
for (const folder of ['threads', 'parts/threads']) {
  const worker = buildSync({
    entryPoints: [join(dist, folder, 'worker.js')],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    write: false,
  })
  write(`${folder}/worker-source.js`, 'workerSource', worker.outputFiles[0].text)
}

// Nothing reads these any more.
for (const path of readdirSync(dist, { recursive: true })) {
  if (/\.wasm$|threads[\\/]worker\.(js|d\.ts)$/.test(path)) rmSync(join(dist, path))
}
