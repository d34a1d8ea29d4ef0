/**
 * Wall time, CPU time and peak memory of a command in a process of its own. Linux; needs `sh`, nothing else.
 *
 * - CPU: the shell's built-in `times`, which POSIX asks of every `sh`, after it has waited for the command: the kernel's
 *   own account of the command, its threads and the children it waited for. Not process.cpuUsage(), which knows only the
 *   calling process.
 * - Peak memory: `VmHWM` of /proc/PID/status, the kernel's high-water mark of the resident set, read every 5 ms. The mark
 *   never falls, so only growth within the last 5 ms can be missed. Not `ru_maxrss` (process.resourceUsage().maxRSS,
 *   wait4): it starts at the peak of whoever launched the program, so a large parent inflates it.
 * - Peak anonymous memory: `RssAnon`, the part of it that no file backs, sampled at the same times. A program that maps
 *   its input has the pages it read counted as resident, though the kernel can drop them at any time: this is the
 *   figure to compare with a program that reads into buffers of its own. Shared memory (`RssShmem`) is counted in it.
 *
 * Memory is the command's own process, not that of processes it starts.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

const POLL_MILLISECONDS = 5

/** Starts the command, tells its process id on descriptor 3, waits for it, and tells the CPU times there. */
const SHELL_SCRIPT = '"$@" 3>&- & echo $! >&3; wait $!; code=$?; times >&3; exit $code'

/**
 * @typedef {object} ProcessFigure
 * @property {number} wallSeconds From the spawn to the exit; the shell's start of 1-2 ms is included.
 * @property {number} userSeconds CPU time in user mode, all threads.
 * @property {number} systemSeconds CPU time in the kernel, all threads.
 * @property {number} cpuSeconds Their sum.
 * @property {number | null} peakResidentBytes null for a command that ended before the first look, or off Linux.
 * @property {number | null} peakAnonymousBytes The part not backed by files: sampled, so that a peak shorter than 5 ms
 *   can be missed.
 * @property {string} stdout
 * @property {string} stderr
 */

/**
 * Runs a command to its end and measures it.
 *
 * @param {string} command
 * @param {string[]} [commandArguments]
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 * @returns {Promise<ProcessFigure>}
 * @throws {Error} when the command cannot start or ends with another status than 0; the message has the end of its stderr.
 *
 * @example
 * const figure = await measureProcess(process.execPath, ['quantize.js', 'in.apr', 'out.apr']);
 * console.log(figure.wallSeconds, figure.peakResidentBytes / 1e6);
 */
export async function measureProcess(command, commandArguments = [], { env = process.env, cwd } = {}) {
  const start = performance.now()
  const shell = spawn('sh', ['-c', SHELL_SCRIPT, 'sh', command, ...commandArguments], {
    env,
    cwd,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const stdout = collect(shell.stdio[1])
  const stderr = collect(shell.stdio[2])
  const report = collect(shell.stdio[3])

  const memory = {
    peakResidentBytes: /** @type {number | null} */ (null),
    peakAnonymousBytes: /** @type {number | null} */ (null),
  }
  const poll = setInterval(() => {
    const processId = Number(report.text.split('\n', 1)[0])
    if (processId > 0) lookAtMemory(processId, memory)
  }, POLL_MILLISECONDS)

  let wallSeconds = 0
  const status = await new Promise((resolve, reject) => {
    shell.once('error', reject)
    shell.once('exit', () => {
      wallSeconds = (performance.now() - start) / 1000
    })
    // 'close' comes when the pipes are read to their end as well.
    shell.once('close', (code, signal) => resolve(code ?? signal))
  }).finally(() => clearInterval(poll))
  if (status !== 0) {
    throw new Error(`expected ${command} to end with status 0, found ${status}: ${stderr.text.trim().slice(-500)}`)
  }

  const { userSeconds, systemSeconds } = parseTimes(report.text)
  return {
    wallSeconds,
    userSeconds,
    systemSeconds,
    cpuSeconds: userSeconds + systemSeconds,
    ...memory,
    stdout: stdout.text,
    stderr: stderr.text,
  }
}

/** @param {any} stream */
function collect(stream) {
  const collected = { text: '' }
  stream.setEncoding('utf8')
  stream.on('data', (/** @type {string} */ chunk) => {
    collected.text += chunk
  })
  return collected
}

/**
 * Raises the peaks; leaves them for a process that is gone or a zombie.
 *
 * @param {number} processId
 * @param {{ peakResidentBytes: number | null, peakAnonymousBytes: number | null }} memory
 */
function lookAtMemory(processId, memory) {
  let status
  try {
    status = readFileSync(`/proc/${processId}/status`, 'latin1')
  } catch {
    return
  }
  const kibibytes = Object.fromEntries(
    [...status.matchAll(/^(\w+):\s+(\d+) kB$/gm)].map(([, key, value]) => [key, Number(value)]),
  )
  if (kibibytes.VmHWM === undefined) return
  memory.peakResidentBytes = Math.max(memory.peakResidentBytes ?? 0, kibibytes.VmHWM * 1024)
  memory.peakAnonymousBytes = Math.max(memory.peakAnonymousBytes ?? 0, (kibibytes.RssAnon + kibibytes.RssShmem) * 1024)
}

/**
 * `times` prints two lines, the shell's own and its children's, each `<minutes>m<seconds>s` in user mode and in the kernel.
 *
 * @param {string} report
 */
function parseTimes(report) {
  const times = [...report.matchAll(/(\d+)m([\d.,]+)s/g)].map(
    ([, minutes, seconds]) => Number(minutes) * 60 + Number(seconds.replace(',', '.')),
  )
  if (times.length !== 4) throw new Error(`expected 4 times from the shell, found ${JSON.stringify(report)}`)
  return { userSeconds: times[2], systemSeconds: times[3] }
}
