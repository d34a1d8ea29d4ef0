/**
 * Builds a peer's cargo program on first use.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A cold build of the largest peer takes 3 minutes on 2 cores. */
const BUILD_LIMIT_MILLISECONDS = 20 * 60 * 1000

/**
 * `cargo build --release --locked` in `peers/<folder>`; cargo itself skips what is up to date.
 *
 * @param {string} folder Name of the folder beside this file.
 * @param {string} program Name of the binary.
 * @param {(reason: string) => void} [onUnavailable] Hears, in one line, why the answer is null.
 * @returns {Promise<string | null>} Path of the binary, or null when cargo is missing or the build fails.
 */
export async function buildProgram(folder, program, onUnavailable) {
  const directory = fileURLToPath(new URL(`${folder}/`, import.meta.url))
  // Named here, so that neither CARGO_TARGET_DIR nor a parent workspace moves the binary.
  const target = join(directory, 'target')
  try {
    await run('cargo', ['build', '--release', '--locked', '--quiet', '--target-dir', target], {
      cwd: directory,
      timeout: BUILD_LIMIT_MILLISECONDS,
      maxBuffer: 64 * 1024 * 1024,
    })
  } catch (error) {
    onUnavailable?.(`${folder}: ${reasonOf(error)}`)
    return null
  }
  return join(target, 'release', process.platform === 'win32' ? `${program}.exe` : program)
}

/** @param {any} error */
function reasonOf(error) {
  if (error.code === 'ENOENT') return 'cargo is not installed'
  if (error.killed) return `cargo build took more than ${BUILD_LIMIT_MILLISECONDS / 60_000} minutes`
  const lines = String(error.stderr || error.message).split('\n')
  return `cargo build failed: ${lines.find((line) => line.startsWith('error')) ?? lines[0]}`
}
