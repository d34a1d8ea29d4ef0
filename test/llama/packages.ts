/** llama.cpp's own libraries, and what calls them: packages in a folder of their own, for this package needs neither. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PACKAGES = ['koffi@3.3.4', '@node-llama-cpp/linux-x64@3.22.1']
const HOME = join(tmpdir(), 'apr-stream-llama-library-3.22.1')

export interface LlamaPackages {
  /** The module `koffi`. */
  readonly koffi: unknown
  /** Where the libraries are. */
  readonly folder: string
}

/** They take 35 MB, and are fetched once; or why they cannot be had. */
export function llamaPackagesOrWhyNot(): LlamaPackages | string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'there is no prebuilt llama.cpp for this platform'
  try {
    mkdirSync(HOME, { recursive: true })
    writeFileSync(join(HOME, 'package.json'), '{"private":true}')
    const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    execFileSync('npm', ['install', ...PACKAGES, ...flags], { cwd: HOME, stdio: 'pipe' })
    return {
      koffi: createRequire(join(HOME, 'package.json'))('koffi') as unknown,
      folder: join(HOME, 'node_modules/@node-llama-cpp/linux-x64/bins/linux-x64'),
    }
  } catch (error) {
    return `llama.cpp cannot be had: ${(error as Error).message.split('\n')[0] ?? ''}`
  }
}
