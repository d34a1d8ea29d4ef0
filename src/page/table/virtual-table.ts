/** A table of which only the rows in view are there: twenty thousand are as quick as twenty. */
import { element } from '../elements.js'
import { count } from '../units.js'
import type { Column, Entry } from './columns.js'

/** Rows that are drawn above and below those in view. */
const MARGIN = 8
/** Rows that are printed: paper has no scrolling. */
const PRINTED = 60
/** Taller than this browsers draw no element: rows are then closer on the scroll bar than on the screen. */
const MAX_HEIGHT = 8_000_000

export interface VirtualTable {
  readonly root: HTMLElement
  show(columns: readonly Column[], entries: readonly Entry[]): void
  sortBy(id: string, descends: boolean): void
}

export function virtualTable(label: string, onChoose: (entry: Entry) => void): VirtualTable {
  const head = element('div', { class: 'row head', role: 'row' })
  const body = element('div', { class: 'rows', role: 'rowgroup' })
  const space = element('div', { class: 'space' }, body)
  const root = element('div', { class: 'table', role: 'grid', tabindex: 0, 'aria-label': label }, head, space)
  let columns: readonly Column[] = []
  let entries: readonly Entry[] = []
  let sorted: Entry[] = []
  let order = { id: 'snr', descends: false }
  let active = -1
  let isPrinting = false
  let waiting = 0

  const rowHeight = (): number => Number.parseFloat(getComputedStyle(root).getPropertyValue('--row')) || 30

  function draw(): void {
    waiting = 0
    const height = rowHeight()
    const all = Math.min(MAX_HEIGHT, sorted.length * height)
    space.style.height = isPrinting ? 'auto' : `${all}px`
    const inView = Math.ceil(root.clientHeight / height)
    const scrollable = Math.max(1, all - root.clientHeight + head.offsetHeight)
    const part = Math.min(1, root.scrollTop / scrollable)
    const exact = all < MAX_HEIGHT ? root.scrollTop / height : part * Math.max(0, sorted.length - inView + 1)
    const from = isPrinting ? 0 : Math.max(0, Math.floor(exact) - MARGIN)
    const to = isPrinting ? PRINTED : Math.floor(exact) + inView + MARGIN
    body.style.transform = isPrinting ? 'none' : `translateY(${root.scrollTop - (exact - from) * height}px)`
    body.replaceChildren(...sorted.slice(from, to).map((entry, i) => row(entry, from + i)))
    root.setAttribute('aria-rowcount', String(sorted.length + 1))
    const activeRow = body.querySelector('.active')
    if (activeRow === null) root.removeAttribute('aria-activedescendant')
    else root.setAttribute('aria-activedescendant', activeRow.id)
  }

  /** Once a frame, however many events come. */
  const drawSoon = (): void => {
    waiting ||= requestAnimationFrame(draw)
  }

  function row(entry: Entry, index: number): HTMLElement {
    const cells = columns.map((column, i) => {
      const text = column.text(entry)
      const name = `cell${i === 0 ? ' name' : ''}${column.isWide === true ? ' wide' : ''}`
      return element('span', { class: name, role: 'gridcell', title: text }, text)
    })
    const isActive = index === active
    return element(
      'div',
      {
        ...{ class: isActive ? 'row active' : 'row', role: 'row', id: `row-${index}`, 'aria-rowindex': index + 2 },
        ...{ 'aria-selected': isActive ? 'true' : 'false', click: () => choose(index) },
      },
      ...cells,
    )
  }

  function drawHead(): void {
    const buttons = columns.map(({ id, title, help, descends, isWide }) => {
      const isSorted = id === order.id
      const button = element(
        'button',
        { type: 'button', title: help },
        title,
        isSorted ? (order.descends ? ' ↓' : ' ↑') : '',
      )
      button.addEventListener('click', () => sortBy(id, isSorted ? !order.descends : descends))
      const sort = isSorted ? (order.descends ? 'descending' : 'ascending') : 'none'
      return element(
        'span',
        { class: isWide === true ? 'cell wide' : 'cell', role: 'columnheader', 'aria-sort': sort },
        button,
      )
    })
    const focused = [...head.children].findIndex((cell) => cell.contains(document.activeElement))
    head.replaceChildren(...buttons)
    buttons[focused]?.querySelector('button')?.focus()
    root.style.setProperty('--columns', columns.map(({ width }) => width).join(' '))
    root.style.setProperty(
      '--narrow-columns',
      columns
        .flatMap(({ width, isWide }) => (isWide === true ? [] : [width]))
        .slice(1)
        .join(' '),
    )
  }

  function sortBy(id: string, descends: boolean): void {
    order = { id, descends }
    const column = columns.find((one) => one.id === id) ?? columns[0]
    if (column === undefined) return
    const keyed = entries.map((entry) => ({ entry, value: column.value(entry) }))
    const sign = descends ? -1 : 1
    keyed.sort((a, b) => sign * compare(a.value, b.value))
    sorted = keyed.map(({ entry }) => entry)
    active = -1
    root.scrollTop = 0
    drawHead()
    draw()
  }

  function choose(index: number): void {
    const entry = sorted[index]
    if (entry === undefined) return
    active = index
    draw()
    onChoose(entry)
  }

  function move(to: number): void {
    active = Math.max(0, Math.min(sorted.length - 1, to))
    const height = rowHeight()
    const top = active * height
    const room = root.clientHeight - head.offsetHeight - height
    if (top < root.scrollTop) root.scrollTop = top
    else if (top > root.scrollTop + room) root.scrollTop = top - room
    draw()
  }

  root.addEventListener('scroll', drawSoon, { passive: true })
  root.addEventListener('keydown', (event) => {
    if (event.target !== root) return
    const page = Math.max(1, Math.floor(root.clientHeight / rowHeight()) - 2)
    const moves: Readonly<Record<string, number>> = {
      ...{ ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page },
      ...{ Home: 0, End: sorted.length - 1 },
    }
    const to = moves[event.key]
    if (to !== undefined) move(to)
    else if (event.key === 'Enter' || event.key === ' ') choose(active)
    else return
    event.preventDefault()
  })
  new ResizeObserver(drawSoon).observe(root)
  for (const [name, now] of [
    ['beforeprint', true],
    ['afterprint', false],
  ] as const) {
    addEventListener(name, () => {
      isPrinting = now
      draw()
    })
  }

  return {
    root,
    sortBy,
    show(newColumns, newEntries) {
      columns = newColumns
      entries = newEntries
      root.setAttribute('aria-colcount', String(columns.length))
      root.setAttribute('aria-description', `${count(entries.length)} rows`)
      sortBy(columns.some(({ id }) => id === order.id) ? order.id : 'snr', order.descends)
    },
  }
}

const COLLATOR = new Intl.Collator('en', { numeric: true })

function compare(a: number | string, b: number | string): number {
  return typeof a === 'number' && typeof b === 'number' ? a - b : COLLATOR.compare(String(a), String(b))
}
