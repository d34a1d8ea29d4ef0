/** What the page is about, the figures of the whole model, and what is not as it should be. */
import type { ReportData, ReportModel, TensorFigures } from '../quality/report-data.js'
import { element, section } from './elements.js'
import { isWeighted, problemsOf, snrOf, USUAL_SNR } from './report.js'
import { bytes, count, decibels, kl, many, percent, plural } from './units.js'

export function header(report: ReportData): HTMLElement {
  const { a, b, recipe, importance, generator } = report
  const what = report.kind === 'quantize' ? 'What quantizing lost' : 'How far two models are apart'
  return element(
    'header',
    {},
    element('p', { class: 'eyebrow' }, what),
    element('h1', {}, nameOf(b)),
    element('p', { class: 'lead' }, 'against ', element('b', {}, nameOf(a)), `, ${a.format} to ${b.format}`),
    element(
      'p',
      { class: 'note' },
      [recipe && `recipe ${recipe}`, importance && `errors weighted by ${importance}`, generator]
        .filter((text) => text !== undefined && text !== '')
        .join(' · '),
    ),
  )
}

/** The last part of a path. */
const nameOf = ({ name }: ReportModel): string => name.split(/[\\/]/).findLast((part) => part !== '') ?? name

export function figures(report: ReportData): HTMLElement {
  const { a, b, total, tensors } = report
  const predicted = tensors.reduce((sum, { predictedKl = 0 }) => sum + predictedKl, 0)
  const list = element('dl', { class: 'tiles' })
  const tile = (name: string, value: string, note: string): void => {
    list.append(element('div', {}, element('dt', {}, name), element('dd', {}, value, element('small', {}, note))))
  }
  tile('Size', bytes(b.bytes), `from ${bytes(a.bytes)}, ${percent(b.bytes / Math.max(1, a.bytes))}`)
  tile('Bits a weight', b.bitsPerWeight.toFixed(2), `from ${a.bitsPerWeight.toFixed(2)}, ${many(b.parameters)} weights`)
  tile('Relative error', percent(total.relativeError), 'RMS of errors / RMS of weights')
  if (isWeighted(report)) tile('Weighted error', percent(total.weightedError), 'the same, by importance')
  tile('Signal to noise', decibels(total.snr), isWeighted(report) ? 'weighted by importance' : '10 log10(Σw² / Σe²)')
  if (predicted > 0) tile('Estimated damage', kl(predicted), 'KL divergence a token, a rough estimate')
  tile('Tensors', count(total.tensors), unmatchedText(report))
  return element('section', { 'aria-label': 'The whole model' }, list)
}

function unmatchedText({ onlyInA, onlyInB }: ReportData): string {
  if (onlyInA.length + onlyInB.length === 0) return 'all are in both'
  return `${count(onlyInA.length)} only in the first, ${count(onlyInB.length)} only in the second`
}

/** What to look at first; null where nothing is wrong. */
export function problems({ tensors }: ReportData, show: () => void): HTMLElement | null {
  const bad = tensors.filter((tensor) => problemsOf(tensor).length > 0)
  if (bad.length === 0) return null
  const list = element('ul', {})
  for (const tensor of bad.slice(0, SHOWN)) {
    list.append(element('li', {}, element('code', {}, tensor.name), ` ${problemsOf(tensor).join('; ')}`))
  }
  const rest = bad.length > SHOWN ? `Show all ${count(bad.length)} in the table` : 'Show them in the table'
  const text = `${plural(bad.length, 'tensor')} to look at.`
  return section('problems', 'Worth a look', text, list, element('button', { type: 'button', click: show }, rest))
}

const SHOWN = 5

/** A row for each type. */
export function types({ tensors }: ReportData): HTMLElement {
  const groups = new Map<string, TensorFigures[]>()
  for (const tensor of tensors) {
    const group = groups.get(tensor.dtypeB)
    if (group === undefined) groups.set(tensor.dtypeB, [tensor])
    else group.push(tensor)
  }
  const sumOf = (group: readonly TensorFigures[], of: (tensor: TensorFigures) => number): number =>
    group.reduce((sum, tensor) => sum + of(tensor), 0)
  const sizeOf = (group: readonly TensorFigures[]): number => sumOf(group, ({ bytesB }) => bytesB)
  const all = Math.max(1, sizeOf(tensors))
  const rows = [...groups].sort(([, a], [, b]) => sizeOf(b) - sizeOf(a))
  const body = element('tbody', {})
  for (const [dtype, group] of rows) {
    const usual = USUAL_SNR[dtype]
    const cells = [
      plural(group.length, 'tensor'),
      bytes(sizeOf(group)),
      percent(sizeOf(group) / all),
      decibels(snrOf(group)),
      usual === undefined ? '–' : `${usual.toFixed(1)} dB`,
    ]
    body.append(
      element('tr', {}, element('th', { scope: 'row' }, dtype), ...cells.map((cell) => element('td', {}, cell))),
    )
  }
  const heads = ['type', 'tensors', 'size', 'of all', 'signal to noise', 'usual for the type']
  const head = element('tr', {}, ...heads.map((text) => element('th', { scope: 'col' }, text)))
  const table = element('table', { class: 'plain' }, element('thead', {}, head), body)
  const text = 'Usual is what the type gives on normally distributed weights. Far below it something is special.'
  return section('types', 'Types', text, element('div', { class: 'scroll-x' }, table))
}

/** Tensors that only one of the two has, or that cannot be compared. */
export function unmatched({ onlyInA, onlyInB }: ReportData): HTMLElement | null {
  const all = [
    ...onlyInA.map((tensor) => ({ side: 'first', tensor })),
    ...onlyInB.map((tensor) => ({ side: 'second', tensor })),
  ]
  if (all.length === 0) return null
  const reasons = {
    missing: 'is not in the other',
    shape: 'has another shape there',
    dtype: 'is of a type without numbers',
  }
  const list = element('ul', {})
  for (const { side, tensor } of all.slice(0, LISTED)) {
    const { name, dtype, reason } = tensor
    list.append(element('li', {}, element('code', {}, name), ` (${dtype}, in the ${side}) ${reasons[reason]}`))
  }
  const more = all.length > LISTED ? element('p', { class: 'note' }, `and ${count(all.length - LISTED)} more`) : null
  const details = element('details', {}, element('summary', {}, plural(all.length, 'tensor')), list, more)
  return section('unmatched', 'Not compared', '', details)
}

const LISTED = 500
