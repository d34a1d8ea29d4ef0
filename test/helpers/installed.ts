/** The package as a user has it: packed, and unpacked with its dependencies in a folder outside of the repository. */
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Where the repository's own commands are, as a user's project has them. */
export const COMMANDS = join(ROOT, 'node_modules/.bin')

interface Lock {
  readonly packages: Record<string, { readonly dev?: boolean }>
}

/** An empty folder where nothing is found by looking upwards; removed at the end. */
export function emptyFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'apr-stream-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * A project that depends on the packed package and nothing else. The dependencies are copied as npm would place them,
 * so that no network is needed; `npm ls` then checks that they are what the package asks for.
 */
export function installPackage(t: Test): string {
  const folder = emptyFolder(t)
  const npm = (...args: string[]): string => execFileSync('npm', args, { cwd: folder, encoding: 'utf8' })
  const [{ filename, version }] = JSON.parse(npm('pack', ROOT, '--json', '--ignore-scripts')) as [
    { filename: string; version: string },
  ]
  const target = join(folder, 'node_modules/apr-stream')
  mkdirSync(target, { recursive: true })
  execFileSync('tar', ['-xzf', filename, '-C', target, '--strip-components=1'], { cwd: folder })
  rmSync(join(folder, filename))
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as Lock
  for (const [path, { dev }] of Object.entries(packages)) {
    // An optional one may not be there for this machine.
    if (path !== '' && !dev && existsSync(join(ROOT, path)))
      cpSync(join(ROOT, path), join(folder, path), { recursive: true })
  }
  const project = { name: 'project', private: true, type: 'module', dependencies: { 'apr-stream': version } }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(project))
  npm('ls', '--all', '--offline')
  return folder
}
