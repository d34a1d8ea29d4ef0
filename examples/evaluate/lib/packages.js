/** llama.cpp's libraries and koffi, which calls them: packages of npm in a temporary folder, for apr-stream needs neither. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** llama.cpp v0.5.0 of 2026-09-28. What lib/llama.js says of its structures holds for this release. */
const RELEASE = '3.22.1'
const PLATFORMS = { 'linux-x64': 'linux-x64', 'linux-arm64': 'linux-arm64' }

/** They take 35 MB, are fetched once, and are left where they are. */
export function fetchPackages() {
  const platform = PLATFORMS[`${process.platform}-${process.arch}`]
  if (platform === undefined) throw new Error(`no llama.cpp for ${process.platform}-${process.arch}: run this on Linux`)
  const home = join(tmpdir(), `apr-stream-llama-library-${RELEASE}`)
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'package.json'), '{"private":true}')
  const packages = ['koffi@3.3.4', `@node-llama-cpp/${platform}@${RELEASE}`]
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
  try {
    execFileSync('npm', ['install', ...packages, ...flags], { cwd: home, stdio: 'pipe' })
  } catch (error) {
    throw new Error(`llama.cpp cannot be had: ${String(error.stderr || error.message).split('\n')[0]}`, {
      cause: error,
    })
  }
  const koffi = createRequire(join(home, 'package.json'))('koffi')
  return { koffi, folder: join(home, 'node_modules', '@node-llama-cpp', platform, 'bins', platform) }
}
