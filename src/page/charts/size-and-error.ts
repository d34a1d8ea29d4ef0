/** A dot a tensor: bytes against signal to noise. */
import * as Plot from '@observablehq/plot'
import type { ReportData, TensorFigures } from '../../quality/report-data.js'
import { element, section } from '../elements.js'
import type { Selection } from '../report.js'
import { KIND_COLORS } from '../theme.js'
import { bytes, count, decibels, percent } from '../units.js'
import { chart, NARROW } from './chart.js'

interface Dot {
  readonly tensor: TensorFigures
  /** Others that would hide behind it. */
  readonly others: number
  readonly kind: string
}

/** Of a thousand tensors many stand at one place: one dot is drawn there. */
const STEPS_AN_OCTAVE = 6
const STEPS_A_DECIBEL = 4
const REST = 'other'

export function sizeAndError(report: ReportData, selection: Selection): HTMLElement | null {
  const dots = dotsOf(report)
  if (dots.length === 0) return null
  const kinds = kindsOf(report)
  const types = [...new Set(dots.map(({ tensor }) => tensor.dtypeB))]
  const drawn = chart('Bytes of every tensor against its signal to noise', (width) => {
    const plot = Plot.plot({
      width,
      height: width < NARROW ? 340 : 420,
      marginLeft: 44,
      marginBottom: 40,
      grid: true,
      x: { type: 'log', label: 'bytes', tickFormat: bytes, ticks: width < NARROW ? 3 : 8 },
      y: { label: 'signal to noise, dB', nice: true },
      color: { domain: kinds, range: KIND_COLORS },
      symbol: { domain: types },
      marks: [
        Plot.dot(dots, {
          ...{ x: (dot: Dot) => dot.tensor.bytesB, y: (dot: Dot) => dot.tensor.snr, r: 4, strokeWidth: 1.6 },
          ...{ stroke: 'kind', symbol: (dot: Dot) => dot.tensor.dtypeB },
        }),
        Plot.tip(
          dots,
          Plot.pointer({ x: (dot: Dot) => dot.tensor.bytesB, y: (dot: Dot) => dot.tensor.snr, title: describe }),
        ),
      ],
    })
    plot.addEventListener('click', () => {
      const dot = (plot as unknown as { value: Dot | null }).value
      if (dot !== null) selection.choose(dot.tensor)
    })
    return plot
  })
  const legends = element('div', { class: 'legend' })
  const colors = Plot.legend({ color: { domain: kinds, range: KIND_COLORS } })
  const symbols = Plot.legend({ symbol: { domain: types } })
  legends.append(colors, symbols)
  const text = 'Tensors of one type lie on one line where nothing is special. Those below it are worth a look.'
  return section('sizes', 'Size against error', text, legends, drawn.root)
}

/** The kinds with a colour of their own: those of most bytes. */
function kindsOf({ kinds }: ReportData): string[] {
  const named = kinds.filter(({ snr }) => snr !== null).map(({ tensorKind }) => tensorKind)
  return named.length <= KIND_COLORS.length ? named : [...named.slice(0, KIND_COLORS.length - 1), REST]
}

function dotsOf(report: ReportData): Dot[] {
  const kinds = new Set(kindsOf(report))
  const places = new Map<string, { tensor: TensorFigures; others: number; kind: string }>()
  for (const tensor of report.tensors) {
    if (tensor.snr === null || tensor.bytesB === 0) continue
    const kind = kinds.has(tensor.tensorKind) ? tensor.tensorKind : REST
    const x = Math.round(Math.log2(tensor.bytesB) * STEPS_AN_OCTAVE)
    const key = `${x} ${Math.round(tensor.snr * STEPS_A_DECIBEL)} ${tensor.dtypeB} ${kind}`
    const place = places.get(key)
    if (place === undefined) places.set(key, { tensor, others: 0, kind })
    else place.others++
  }
  return [...places.values()]
}

function describe({ tensor, others }: Dot): string {
  const more = others === 0 ? '' : `\nand ${count(others)} more here`
  const { name, dtypeB, bytesB, snr, relativeError } = tensor
  return `${name}\n${dtypeB}, ${bytes(bytesB)}\nsignal to noise ${decibels(snr)}\nrelative error ${percent(relativeError)}${more}`
}
