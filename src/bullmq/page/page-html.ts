/** The page with all flows: whole in itself, so it needs no network but the server that it came from. */

const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --ink: #1b2230; --quiet: #5b6577; --line: #dfe3ea;
  --bar: #2563eb; --under-way: #93b4f5; --track: #e6eaf1; --good: #15803d; --bad: #b91c1c; --warn: #a16207;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f131a; --card: #181e28; --ink: #e6e9ef; --quiet: #98a2b3; --line: #2a3342;
    --bar: #5b8df6; --under-way: #2f4d8a; --track: #242c39; --good: #4ade80; --bad: #f87171; --warn: #facc15;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main, header { max-width: 1080px; margin: 0 auto; padding: 0 16px; }
header { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; padding-top: 18px; padding-bottom: 10px; }
h1 { font-size: 19px; margin: 0; }
h2 { font-size: 15px; margin: 0; overflow-wrap: anywhere; font-weight: 600; }
h3 { font-size: 13px; margin: 14px 0 4px; color: var(--quiet); font-weight: 600; }
.quiet { color: var(--quiet); }
#trouble { color: var(--bad); font-weight: 600; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; margin: 0 0 14px; }
.top { display: flex; gap: 12px; justify-content: space-between; align-items: baseline; }
.from { font-size: 13px; color: var(--quiet); overflow-wrap: anywhere; }
.state { font-size: 12px; font-weight: 700; border: 1px solid; border-radius: 99px; padding: 1px 10px; white-space: nowrap; }
.done { color: var(--good); } .failed, .cancelled { color: var(--bad); }
.running, .finishing { color: var(--bar); } .waiting { color: var(--quiet); }
.bar { display: flex; height: 12px; border-radius: 6px; background: var(--track); overflow: hidden; margin: 12px 0; }
.bar > i { display: block; height: 100%; background: var(--bar); }
.bar > i + i { background: var(--under-way); }
article.is-done .bar > i { background: var(--good); } article.is-failed .bar > i { background: var(--bad); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 8px 16px; margin: 0; }
dt { font-size: 12px; color: var(--quiet); } dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600; }
dd.warn { color: var(--warn); }
ul { list-style: none; margin: 0; padding: 0; font-size: 13px; }
li { display: grid; grid-template-columns: 76px 1fr auto; gap: 0 12px; align-items: center; padding: 2px 0; font-variant-numeric: tabular-nums; }
li .bar { margin: 0; height: 7px; } li .who { grid-column: 2 / -1; color: var(--quiet); font-size: 12px; overflow-wrap: anywhere; }
.reason { color: var(--bad); font-size: 13px; margin: 12px 0 0; overflow-wrap: anywhere; white-space: pre-wrap; }
li.retry { grid-template-columns: 76px 1fr; } li.retry > :last-child { color: var(--warn); overflow-wrap: anywhere; }
#none { padding: 48px 0; text-align: center; color: var(--quiet); }
@media (max-width: 520px) { dl { grid-template-columns: 1fr 1fr; } li { grid-template-columns: 64px 1fr auto; } }
`

/** Names out of plans are data: they become text, never markup. */
const SCRIPT = `
'use strict'
const SHOWN_PARTS = 32
const list = document.getElementById('flows')
const cards = new Map()

function element(tag, className, text) {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text !== undefined) made.textContent = text
  return made
}
function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let unit = 0
  while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit++ }
  return (unit === 0 ? Math.round(count) : count.toPrecision(3)) + ' ' + units[unit]
}
function duration(seconds) {
  const whole = Math.ceil(seconds)
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60
  if (hours > 0) return hours + ' h ' + minutes + ' min'
  return minutes > 0 ? minutes + ' min ' + (whole % 60) + ' s' : whole + ' s'
}
function share(part, whole) { return whole > 0 ? Math.min(100, (100 * part) / whole) : 0 }
function bar(label, ...shares) {
  const made = element('div', 'bar')
  made.setAttribute('role', 'progressbar')
  made.setAttribute('aria-label', label)
  made.setAttribute('aria-valuenow', Math.round(shares.reduce((sum, each) => sum + each, 0)))
  for (const each of shares) {
    const filled = element('i')
    filled.style.width = each + '%'
    made.append(filled)
  }
  return made
}
function figures(rows) {
  const made = element('dl')
  for (const [name, value, className] of rows) {
    const row = element('div')
    row.append(element('dt', '', name), element('dd', className || '', value))
    made.append(row)
  }
  return made
}
function lines(title, items, draw) {
  if (items.length === 0) return []
  const made = element('ul')
  for (const item of items.slice(0, SHOWN_PARTS)) made.append(draw(item))
  const more = items.length - SHOWN_PARTS
  return [element('h3', '', title), made, ...(more > 0 ? [element('p', 'quiet', 'and ' + more + ' more')] : [])]
}
function runningPart(part) {
  const line = element('li')
  const rate = part.bytesPerSecond > 0 ? bytes(part.bytesPerSecond) + '/s' : ''
  const name = 'part ' + part.unit
  line.append(element('span', '', name), bar(name, share(part.bytes, part.totalBytes)), element('span', '', rate))
  line.append(element('span', 'who', part.worker))
  return line
}
function failingPart(part) {
  const line = element('li', 'retry')
  line.append(element('span', '', 'part ' + part.unit), element('span', '', 'try ' + part.attempts + ' of ' + part.maxAttempts + ': ' + part.reason))
  return line
}
function fill(card, flow) {
  const isOver = flow.endedAt !== undefined
  const underWay = flow.running.reduce((sum, part) => sum + part.bytes, 0)
  const top = element('div', 'top')
  top.append(element('h2', '', flow.output), element('span', 'state ' + flow.state, flow.state))
  const rows = [
    ['parts done', flow.partsDone + ' of ' + flow.parts],
    ['made', bytes(flow.bytes) + ' of ' + bytes(flow.totalBytes)],
    ['rate', !isOver && flow.bytesPerSecond > 0 ? bytes(flow.bytesPerSecond) + '/s' : '\\u2013'],
    isOver
      ? ['took', duration((flow.endedAt - flow.addedAt) / 1000)]
      : ['time left', flow.secondsLeft === undefined ? '\\u2013' : duration(flow.secondsLeft)],
    ['failing', String(flow.failing.length), flow.failing.length > 0 ? 'warn' : ''],
  ]
  card.className = flow.state === 'done' ? 'is-done' : flow.state === 'failed' || flow.state === 'cancelled' ? 'is-failed' : ''
  card.replaceChildren(
    top,
    element('div', 'from', 'from ' + flow.input + ' \\u00b7 flow ' + flow.id),
    bar(flow.output, share(flow.bytes - underWay, flow.totalBytes), share(underWay, flow.totalBytes)),
    figures(rows),
    ...(flow.failure
      ? [element('p', 'reason', (flow.failure.unit === undefined ? '' : 'part ' + flow.failure.unit + ': ') + (flow.failure.code ? flow.failure.code + ': ' : '') + flow.failure.reason)]
      : []),
    ...lines('under way', flow.running, runningPart),
    ...lines('failing, tried again', flow.failing, failingPart),
  )
}
function show({ queue, workers, flows }) {
  document.getElementById('queue').textContent = 'queue ' + queue
  document.getElementById('workers').textContent = workers + (workers === 1 ? ' worker' : ' workers')
  document.getElementById('none').hidden = flows.length > 0
  const ids = new Set(flows.map((flow) => flow.id))
  for (const [id, card] of cards) if (!ids.has(id)) { card.remove(); cards.delete(id) }
  flows.forEach((flow, at) => {
    let card = cards.get(flow.id)
    if (!card) cards.set(flow.id, (card = element('article')))
    fill(card, flow)
    if (list.children[at] !== card) list.insertBefore(card, list.children[at] || null)
  })
}
async function look() {
  const trouble = document.getElementById('trouble')
  try {
    const response = await fetch('flows.json')
    if (!response.ok) throw new Error('the queue does not answer')
    show(await response.json())
    trouble.textContent = ''
  } catch (error) {
    trouble.textContent = 'not up to date: ' + (error instanceof TypeError ? 'the worker does not answer' : error.message)
  }
  setTimeout(look, 1000)
}
look()
`

/** @param nonce that the policy of the answer allows */
export function pageHtml(nonce: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>apr-stream: flows</title>
<link rel="icon" href="data:,">
<style nonce="${nonce}">${STYLE}</style>
</head>
<body>
<header>
<h1>apr-stream</h1>
<span class="quiet" id="queue"></span>
<span class="quiet" id="workers"></span>
<span id="trouble" role="status"></span>
</header>
<main>
<div id="flows"></div>
<p id="none" hidden>No flows yet: <code>apr-stream queue JOB.json</code> adds one.</p>
</main>
<script nonce="${nonce}">${SCRIPT}</script>
</body>
</html>
`
}
