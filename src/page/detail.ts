/** All that is known of the tensor that is selected. */
import * as Plot from '@observablehq/plot'
import type { TensorFigures } from '../quality/report-data.js'
import { chart, NARROW } from './charts/chart.js'
import { element, replaceChildren } from './elements.js'
import { problemsOf, rmsOf, type Selection } from './report.js'
import { bytes, count, decibels, kl, percent, plain, shape } from './units.js'

export function detail(selection: Selection): HTMLElement {
  const root = element('div', { class: 'detail', 'aria-live': 'polite' })
  const rows = chart('Histogram of the rows’ signal to noise', (width) => drawRows(width, selection.tensor))
  const show = (): void => {
    const { tensor } = selection
    root.hidden = tensor === undefined
    if (tensor === undefined) return
    const close = element('button', { type: 'button', click: () => selection.choose(undefined) }, 'Close')
    const heading = element('div', { class: 'detail-head' }, element('h3', {}, tensor.name), close)
    replaceChildren(
      root,
      heading,
      list(tensor),
      worstRows(tensor),
      element('h4', {}, 'Rows by signal to noise'),
      rows.root,
    )
    rows.draw()
  }
  root.hidden = true
  selection.listen(show)
  return root
}

function list(tensor: TensorFigures): HTMLElement {
  const { experts, maxError, lostBlocks, notFinite, decision, cosine, predictedKl } = tensor
  const entries: [string, string | undefined][] = [
    ['Shape', shape(tensor.shape)],
    ['Type', tensor.dtypeA === tensor.dtypeB ? tensor.dtypeA : `${tensor.dtypeA} to ${tensor.dtypeB}`],
    ['Size', `${bytes(tensor.bytesB)}, from ${bytes(tensor.bytesA)}`],
    ['Relative error', percent(tensor.relativeError)],
    ['Weighted error', tensor.weightedError === undefined ? undefined : percent(tensor.weightedError)],
    ['Signal to noise', decibels(tensor.snr)],
    ['1 − cosine', cosine === null ? undefined : plain(1 - cosine)],
    ['RMS of the weights', plain(rmsOf(tensor))],
    [
      'Largest error',
      maxError === null
        ? undefined
        : `${plain(maxError.error)} at element ${count(maxError.element)}: ${plain(maxError.w)} became ${plain(maxError.v)}`,
    ],
    ['Weights above 8 rms', percent(tensor.outlierShare)],
    ['Blocks that lost the scale', lostBlocks === undefined ? undefined : count(lostBlocks)],
    [
      'Experts',
      experts &&
        `${count(experts.count)}: ${decibels(experts.minSnr)} (number ${count(experts.worst)}) to ${decibels(experts.maxSnr)}`,
    ],
    ['Estimated damage', predictedKl === undefined ? undefined : `${kl(predictedKl)} a token`],
    ['Decision', decision && [decision.action, decision.rule ?? decision.reason].join(': ')],
    [
      'First that is not finite',
      notFinite && `element ${count(notFinite.element)}: ${notFinite.w} became ${notFinite.v}`,
    ],
    ['To look at', problemsOf(tensor).join('; ') || undefined],
  ]
  const made = element('dl', { class: 'pairs' })
  for (const [name, text] of entries) {
    if (text !== undefined) made.append(element('div', {}, element('dt', {}, name), element('dd', {}, text)))
  }
  return made
}

function worstRows({ worstRows: rows }: TensorFigures): HTMLElement | null {
  if (rows.length === 0) return null
  const texts = rows.map(
    ({ row, snr, relativeError }) => `row ${count(row)}: ${decibels(snr)} (${percent(relativeError)})`,
  )
  return element('p', {}, element('b', {}, 'Worst rows '), texts.join(' · '))
}

function drawRows(width: number, tensor: TensorFigures | undefined): Element {
  const { first, counts } = tensor?.rowSnr ?? { first: 0, counts: [] }
  const bins = counts.flatMap((value, i) => (value === 0 ? [] : [{ from: first + i, to: first + i + 1, rows: value }]))
  const ends = [Math.min(...bins.map(({ from }) => from)) - 3, Math.max(...bins.map(({ to }) => to)) + 3]
  return Plot.plot({
    width,
    height: width < NARROW ? 170 : 190,
    marginLeft: 52,
    marginBottom: 40,
    x: { label: 'signal to noise of a row, dB', ...(bins.length === 0 ? {} : { domain: ends }) },
    y: { label: 'rows', grid: true, ticks: 4 },
    marks: [
      Plot.rect(bins, { x1: 'from', x2: 'to', y1: 0, y2: 'rows', fill: 'var(--calm)', inset: 0.5 }),
      Plot.ruleY([0]),
      Plot.tip(
        bins,
        Plot.pointerX({
          ...{ x: (bin: (typeof bins)[number]) => bin.from + 0.5, y: 'rows' },
          title: ({ from, to, rows }: (typeof bins)[number]) => `${from} to ${to} dB\n${count(rows)} rows`,
        }),
      ),
    ],
  })
}
