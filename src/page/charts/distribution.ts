/** How large the weights and their errors are, on one axis. */
import * as Plot from '@observablehq/plot'
import { binEdge, type Counts, type ReportData, type TensorFigures } from '../../quality/report-data.js'
import { choice, section } from '../elements.js'
import { rmsOf, type Selection } from '../report.js'
import { percent, plain } from '../units.js'
import { chart, NARROW } from './chart.js'

interface Bin {
  /** Edges, in root mean squares of the weights. */
  readonly from: number
  readonly to: number
  readonly share: number
  readonly what: string
}

const WEIGHTS = 'weights'
const ERRORS = 'errors'
/** Half octaves that are shown, around 1. */
const LOWEST = -30
const HIGHEST = 12

export function distribution(report: ReportData, selection: Selection): HTMLElement {
  let choiceValue = 'all'
  const kinds = report.kinds.map(({ tensorKind }) => tensorKind)
  const chosen = (): readonly TensorFigures[] => {
    if (choiceValue === 'selected') return selection.tensor === undefined ? report.tensors : [selection.tensor]
    const [sort, value] = [choiceValue.slice(0, 1), choiceValue.slice(1)]
    if (sort === 'k') return report.tensors.filter(({ tensorKind }) => tensorKind === value)
    if (sort === 'l') return report.tensors.filter(({ layer }) => String(layer) === value)
    return report.tensors
  }
  const drawn = chart('Histogram of weights and of errors', (width) => draw(width, chosen()))
  const values: [string, string][] = [
    ['all', 'all tensors'],
    ['selected', 'the tensor that is selected'],
    ...kinds.map((kind): [string, string] => [`k${kind}`, kind]),
    ...report.layers.map(({ layer }): [string, string] => [`l${layer}`, `layer ${layer}`]),
  ]
  const control = choice('Of', values, (value) => {
    choiceValue = value
    drawn.draw()
  })
  selection.listen((tensor) => {
    choiceValue = tensor === undefined ? 'all' : 'selected'
    control.set(choiceValue)
    drawn.draw()
  })
  const text =
    'Share of values by their size, in multiples of the tensor’s root mean square (rms). The distance of the two hills is the signal to noise; a tail of weights on the right are outliers.'
  return section('distribution', 'How weights and errors are spread', text, control.root, drawn.root)
}

function draw(width: number, tensors: readonly TensorFigures[]): Element {
  const bins = [
    ...binsOf(tensors, ({ magnitudes }) => magnitudes, WEIGHTS),
    ...binsOf(tensors, ({ errors }) => errors, ERRORS),
  ]
  return Plot.plot({
    width,
    height: width < NARROW ? 240 : 280,
    marginLeft: 44,
    marginBottom: 40,
    x: {
      ...{ type: 'log', base: 2, label: 'size / rms', domain: [2 ** (LOWEST / 2), 2 ** (HIGHEST / 2)] },
      ...{ ticks: width < NARROW ? 5 : 10, tickFormat: (value: number) => plain(value).replace(/\.?0+$/, '') },
    },
    y: { label: 'share, %', percent: true, grid: true },
    color: { domain: [WEIGHTS, ERRORS], range: ['var(--calm)', 'var(--loss)'], legend: true },
    marks: [
      Plot.rect(bins, { x1: 'from', x2: 'to', y1: 0, y2: 'share', fill: 'what', fillOpacity: 0.6, inset: 0.5 }),
      Plot.ruleY([0]),
      Plot.ruleX([1], { strokeDasharray: '3 3' }),
      Plot.tip(
        bins,
        Plot.pointer({
          ...{ x: (bin: Bin) => Math.sqrt(bin.from * bin.to), y: 'share' },
          title: ({ from, to, share, what }: Bin) => `${what}\n${plain(from)} to ${plain(to)} rms\n${percent(share)}`,
        }),
      ),
    ],
  })
}

/** The bins of all tensors on one axis: each tensor's are moved by its rms, and shared between the two that they meet. */
function binsOf(tensors: readonly TensorFigures[], countsOf: (tensor: TensorFigures) => Counts, what: string): Bin[] {
  const totals = new Float64Array(HIGHEST - LOWEST)
  let total = 0
  for (const tensor of tensors) {
    const rms = rmsOf(tensor)
    if (rms === 0) continue
    total += tensor.weights
    const { first, counts } = countsOf(tensor)
    counts.forEach((value, i) => {
      // Of a half octave's two edges in octaves: 1.5 is not quite the middle.
      const place = 2 * Math.log2(binEdge(first + i) / rms) - LOWEST
      const low = Math.floor(place)
      const part = place - low
      add(totals, low, value * (1 - part))
      add(totals, low + 1, value * part)
    })
  }
  return [...totals].flatMap((value, i): Bin[] =>
    value === 0
      ? []
      : [{ from: 2 ** ((LOWEST + i) / 2), to: 2 ** ((LOWEST + i + 1) / 2), share: value / Math.max(1, total), what }],
  )
}

function add(totals: Float64Array, place: number, value: number): void {
  const at = Math.max(0, Math.min(totals.length - 1, place))
  totals[at] = (totals[at] ?? 0) + value
}
