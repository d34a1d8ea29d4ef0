/** Tensors and rows, the worst first: sorted, filtered, looked into. */
import type { ReportData } from '../../quality/report-data.js'
import { choice, element, section } from '../elements.js'
import { problemsOf, type Selection } from '../report.js'
import { count, plural } from '../units.js'
import { ROW_COLUMNS, tensorColumns, type Column, type Entry } from './columns.js'
import { virtualTable } from './virtual-table.js'

const ALL = ''

export function tensorTable(
  report: ReportData,
  selection: Selection,
  detail: HTMLElement,
): { readonly root: HTMLElement; showProblems(): void } {
  const filter = { text: '', kind: ALL, dtype: ALL, isProblemsOnly: false, isRows: false }
  const table = virtualTable('Tensors', ({ tensor }) => selection.choose(tensor))
  const shown = element('p', { class: 'note', role: 'status' })
  const tensorEntries: Entry[] = report.tensors.map((tensor) => ({ tensor }))
  const rowEntries: Entry[] = report.tensors.flatMap((tensor) => tensor.worstRows.map((row) => ({ tensor, row })))
  const columns = tensorColumns(report)

  function update(): void {
    const { text, kind, dtype, isProblemsOnly, isRows } = filter
    const words = text.toLowerCase().split(/\s+/)
    const all = isRows ? rowEntries : tensorEntries
    const entries = all.filter(
      ({ tensor }) =>
        (kind === ALL || tensor.tensorKind === kind) &&
        (dtype === ALL || tensor.dtypeB === dtype) &&
        (!isProblemsOnly || problemsOf(tensor).length > 0) &&
        words.every((word) => tensor.name.toLowerCase().includes(word)),
    )
    table.show(isRows ? ROW_COLUMNS : columns, entries)
    const of = entries.length === all.length ? '' : ` of ${count(all.length)}`
    const word = isRows ? 'row' : 'tensor'
    shown.textContent = of === '' ? plural(all.length, word) : `${count(entries.length)}${of} ${word}s`
  }

  const search = element('input', { type: 'search', placeholder: 'part of a name', 'aria-label': 'Filter by name' })
  search.addEventListener('input', () => {
    filter.text = search.value.trim()
    update()
  })
  const only = element('input', { type: 'checkbox' })
  only.addEventListener('change', () => {
    filter.isProblemsOnly = only.checked
    update()
  })
  const choose = (name: 'kind' | 'dtype') => (value: string) => {
    filter[name] = value
    update()
  }
  const listed = (values: readonly string[]): [string, string][] => [
    [ALL, 'all'],
    ...[...new Set(values)].map((value): [string, string] => [value, value]),
  ]
  const what = choice<'tensors' | 'rows'>(
    'Show',
    [
      ['tensors', 'tensors'],
      ['rows', 'their worst rows'],
    ],
    (value) => {
      filter.isRows = value === 'rows'
      update()
    },
  )
  const controls = element(
    'div',
    { class: 'controls' },
    what.root,
    element('label', { class: 'control' }, 'Name', search),
    choice('Kind', listed(report.kinds.map(({ tensorKind }) => tensorKind)), choose('kind')).root,
    choice('Type', listed(report.tensors.map(({ dtypeB }) => dtypeB)), choose('dtype')).root,
    element('label', { class: 'control check' }, only, 'worth a look'),
    sortControl(columns, (id, descends) => table.sortBy(id, descends)),
  )
  update()
  const text = 'The worst first. Choose a row to see all that is known of it.'
  const root = section('tensors', 'Tensors', text, controls, shown, table.root, detail)
  return {
    root,
    showProblems() {
      only.checked = true
      filter.isProblemsOnly = true
      update()
      root.scrollIntoView()
    },
  }
}

/** For phones, where most of the columns' heads are not there. */
function sortControl(columns: readonly Column[], sort: (id: string, descends: boolean) => void): HTMLElement {
  const values = columns.map(({ id, title }): [string, string] => [id, title])
  const control = choice('Sort by', values, (id) => sort(id, columns.find((one) => one.id === id)?.descends ?? false))
  control.set('snr')
  control.root.classList.add('narrow-only')
  return control.root
}
