/** Every layer and kind of tensor, coloured by what was lost. */
import * as Plot from '@observablehq/plot'
import type { ReportData, TensorFigures } from '../../quality/report-data.js'
import { choice, element, replaceChildren, section } from '../elements.js'
import { isWeighted, type Selection, snrOf, USUAL_SNR } from '../report.js'
import { againstColors, exactColor, inkOn, lossColors, onThemeChange } from '../theme.js'
import { bytes, count, decibels, percent } from '../units.js'
import { chart, NARROW } from './chart.js'

interface Cell {
  readonly kind: string
  /** `none` where the tensor is of no layer. */
  readonly layer: string
  readonly tensors: readonly TensorFigures[]
  readonly dtype: string
  readonly snr: number | null
  /** Of several matrices: the least and the greatest. */
  readonly range: readonly [number | null, number | null] | undefined
}

type Measure = 'snr' | 'against'

const NONE = 'none'
/** The colours' ends, in dB. */
const LEAST = 8
const GREATEST = 48
/** The same of the difference to a type's usual SNR. */
const DIFFERENCE = 4

export function heatMap(report: ReportData, selection: Selection): HTMLElement {
  const { cells, kinds, layers, exactKinds } = cellsOf(report)
  let measure: Measure = 'snr'
  const drawn = chart('Signal to noise of every layer and kind of tensor', (width) => {
    const isNarrow = width < NARROW
    const plot = draw({ cells, kinds, layers, measure, width, isNarrow })
    plot.addEventListener('click', () => {
      const cell = (plot as unknown as { value: Cell | null }).value
      if (cell?.tensors[0] !== undefined) selection.choose(worstOf(cell.tensors))
    })
    return plot
  })
  const controls = choice<Measure>(
    'Colour',
    [
      ['snr', 'signal to noise, dB'],
      ['against', 'against what is usual for the type, dB'],
    ],
    (value) => {
      measure = value
      drawn.draw()
      showScale()
    },
  )
  const weighted = isWeighted(report) ? ', weighted by importance' : ''
  const text = `Signal to noise in dB${weighted}: the stronger the colour, the more was lost. The letters are the type.`
  const legend = element('div', { class: 'legend' })
  legend.append(...codesOf(cells).map(([code, dtype]) => element('span', {}, element('b', {}, code), ` ${dtype}`)))
  const scale = element('span', { class: 'scale' })
  const showScale = (): void => showColors(scale, measure)
  showScale()
  onThemeChange(showScale)
  legend.prepend(scale)
  const exact =
    exactKinds.length === 0
      ? null
      : element('p', { class: 'note' }, `Without error, and not shown: ${exactKinds.join(', ')}.`)
  return section('heat-map', 'Where it was lost', text, controls.root, drawn.root, legend, exact)
}

function cellsOf({ tensors }: ReportData): {
  readonly cells: Cell[]
  readonly kinds: string[]
  readonly layers: string[]
  readonly exactKinds: string[]
} {
  const groups = new Map<string, TensorFigures[]>()
  const inexact = new Set<string>()
  const kinds = new Set<string>()
  let layerCount = 0
  let hasNone = false
  for (const tensor of tensors) {
    kinds.add(tensor.tensorKind)
    if (tensor.e2 > 0 || tensor.notFinite !== undefined) inexact.add(tensor.tensorKind)
  }
  for (const tensor of tensors) {
    if (!inexact.has(tensor.tensorKind)) continue
    const layer = tensor.layer === null ? NONE : String(tensor.layer)
    layerCount = Math.max(layerCount, (tensor.layer ?? -1) + 1)
    hasNone ||= tensor.layer === null
    const key = `${layer} ${tensor.tensorKind}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [tensor])
    else group.push(tensor)
  }
  const layers = Array.from({ length: layerCount }, (_, layer) => String(layer))
  return {
    cells: [...groups.values()].map(cellOf),
    kinds: [...inexact],
    layers: hasNone ? [...layers, NONE] : layers,
    exactKinds: [...kinds].filter((kind) => !inexact.has(kind)),
  }
}

function cellOf(tensors: readonly TensorFigures[]): Cell {
  const [first] = tensors
  if (first === undefined) throw new Error('a cell without tensors')
  const { tensorKind: kind, layer, experts } = first
  const snrs = tensors.map(({ snr }) => snr).sort((a, b) => (a ?? Infinity) - (b ?? Infinity))
  const several = tensors.length > 1 ? ([snrs[0] ?? null, snrs.at(-1) ?? null] as const) : undefined
  const dtypes = [...new Set(tensors.map(({ dtypeB }) => dtypeB))]
  return {
    kind,
    layer: layer === null ? NONE : String(layer),
    tensors,
    dtype: dtypes.length === 1 ? (dtypes[0] ?? '') : 'mixed',
    snr: snrOf(tensors),
    range: experts === undefined ? several : [experts.minSnr, experts.maxSnr],
  }
}

/** Which colour is how many dB. */
function showColors(scale: HTMLElement, measure: Measure): void {
  const colors = measure === 'snr' ? lossColors() : againstColors()
  const stops = Array.from({ length: 9 }, (_, i) => colors(i / 8)).join(', ')
  const [least, greatest] =
    measure === 'snr' ? [`${LEAST} dB`, `${GREATEST} dB`] : [`−${DIFFERENCE} dB`, `+${DIFFERENCE} dB`]
  const bar = element('i', {})
  bar.style.background = `linear-gradient(to right, ${stops})`
  replaceChildren(scale, least, bar, greatest)
}

const worstOf = (tensors: readonly TensorFigures[]): TensorFigures | undefined =>
  tensors.reduce<TensorFigures | undefined>(
    (worst, tensor) => ((tensor.snr ?? Infinity) < (worst?.snr ?? Infinity) ? tensor : worst),
    tensors[0],
  )

/** One or two letters of a type: its bits, and of floats a letter. */
function codeOf(dtype: string): string {
  const floats: Readonly<Record<string, string>> = { F32: 'F', F16: 'H', BF16: 'B', F64: 'D', mixed: '*' }
  const known = floats[dtype]
  if (known !== undefined) return known
  const [, prefix = '', bits = dtype, kind = ''] = /^(I?)A?P?R?_?Q(\d)_?(\w*)$/.exec(dtype) ?? []
  return `${prefix}${bits}${kind === 'K' || kind === '' ? '' : kind === '0' ? '₀' : kind === '1' ? '₁' : ''}`
}

function codesOf(cells: readonly Cell[]): [string, string][] {
  const dtypes = [...new Set(cells.map(({ dtype }) => dtype))]
  return dtypes.map((dtype) => [codeOf(dtype), dtype === 'mixed' ? 'several types' : dtype])
}

interface Drawing {
  readonly cells: readonly Cell[]
  readonly kinds: readonly string[]
  readonly layers: readonly string[]
  readonly measure: Measure
  readonly width: number
  readonly isNarrow: boolean
}

/** Layers go across, and down on a phone. */
function draw({ cells, kinds, layers, measure, width, isNarrow }: Drawing): Element {
  const across = isNarrow ? kinds : layers
  const margin = isNarrow ? 36 : Math.min(150, 24 + 7 * Math.max(...kinds.map(({ length }) => length)))
  const cellWidth = (width - margin - 8) / across.length
  const text = (cell: Cell): string =>
    cellWidth >= 34 ? cell.dtype.replace('_', '') : cellWidth >= 9 ? codeOf(cell.dtype) : ''
  const color = colorOf(measure)
  const place = isNarrow ? { x: 'kind', y: 'layer' } : { x: 'layer', y: 'kind' }
  const step = Math.max(1, Math.ceil(22 / cellWidth))
  const layerTicks = layers.filter(
    (layer, i) => layer === NONE || (isNarrow || i % step === 0 ? i < layers.length : false),
  )
  return Plot.plot({
    width,
    height: isNarrow ? 96 + layers.length * 20 : 44 + kinds.length * 30,
    marginLeft: margin,
    marginRight: 8,
    marginTop: isNarrow ? 88 : 8,
    marginBottom: isNarrow ? 8 : 36,
    padding: 0.06,
    x: {
      domain: across,
      label: isNarrow ? null : 'layer',
      axis: isNarrow ? 'top' : 'bottom',
      tickSize: 0,
      ...(isNarrow ? { tickRotate: -60 } : { ticks: layerTicks }),
    },
    y: { domain: isNarrow ? layers : kinds, label: null, tickSize: 0 },
    marks: [
      Plot.cell(cells, { ...place, fill: color, rx: 2 }),
      Plot.text(cells, {
        ...place,
        text,
        fill: (cell: Cell) => inkOn(color(cell)),
        fontSize: 10,
        pointerEvents: 'none',
      }),
      Plot.tip(cells, Plot.pointer({ ...place, title: describe, maxRadius: 30 })),
    ],
  })
}

/** `rgb(...)` of a cell. */
function colorOf(measure: Measure): (cell: Cell) => string {
  const loss = lossColors()
  const against = againstColors()
  const exact = exactColor()
  const clamp = (part: number): number => Math.max(0, Math.min(1, part))
  return ({ snr, dtype }) => {
    if (snr === null) return exact
    if (measure === 'snr') return loss(clamp((snr - LEAST) / (GREATEST - LEAST)))
    const usual = USUAL_SNR[dtype]
    return usual === undefined ? exact : against(clamp(0.5 + (snr - usual) / (2 * DIFFERENCE)))
  }
}

function describe({ kind, layer, tensors, dtype, snr, range }: Cell): string {
  const [first] = tensors
  const size = tensors.reduce((sum, { bytesB }) => sum + bytesB, 0)
  const usual = USUAL_SNR[dtype]
  const matrices = first?.experts?.count ?? tensors.length
  return [
    layer === NONE ? kind : `${kind}, layer ${layer}`,
    `${dtype}, ${bytes(size)}`,
    `signal to noise ${decibels(snr)}${usual === undefined ? '' : ` (usual ${usual} dB)`}`,
    tensors.length === 1 && first !== undefined && `relative error ${percent(first.relativeError)}`,
    range !== undefined && `${count(matrices)} matrices: ${decibels(range[0])} to ${decibels(range[1])}`,
  ]
    .filter((line) => line !== false)
    .join('\n')
}
