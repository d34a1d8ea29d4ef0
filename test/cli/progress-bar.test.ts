import { Writable } from 'node:stream'
import { test } from 'tap'
import { createProgressBar } from '../../dist/cli/progress-bar.js'

/** What a terminal was sent, in frames: each starts with the name of a phase. */
function terminal(): { stream: Writable; frames: () => string[] } {
  let text = ''
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString()
      done()
    },
  })
  Object.assign(stream, { isTTY: true, columns: 200, rows: 20 })
  // eslint-disable-next-line no-control-regex
  const plain = (): string => text.replace(/\u001b(\[[?\d;]*[a-zA-Z]|[78])/g, '\n')
  return {
    stream,
    frames: () =>
      plain()
        .split('\n')
        .filter((line) => /\S/.test(line)),
  }
}

void test('the bar is whole from its first frame on, and has one for each phase', (t) => {
  const { stream, frames } = terminal()
  const bar = createProgressBar(stream)
  const all = { totalBytes: 4_000_000, totalTensors: 4, tensor: 'a\u001b[31mweight' }
  bar.update({ phase: 'reading', bytes: 1_000_000, tensors: 1, ...all })
  bar.update({ phase: 'reading', bytes: 4_000_000, tensors: 4, ...all })
  bar.update({ phase: 'writing', bytes: 250_000, tensors: 1, ...all, totalBytes: 1_000_000 })
  bar.stop()
  const shown = frames()
  t.match(shown[0], /^reading +\S+ 25% \| 1\.00 MB of 4\.00 MB \| a\\u\{1b\}\[31mweight$/)
  t.match(
    shown.find((line) => line.startsWith('writing')),
    /^writing +\S+ 25% \| 250 kB of 1\.00 MB \| /,
  )
  t.notOk(
    shown.find((line) => /\|\s*\||NaN|INF|NULL|undefined|\{/.test(line.replace('\\u{1b}', ''))),
    'no frame has an empty place',
  )
  t.end()
})
