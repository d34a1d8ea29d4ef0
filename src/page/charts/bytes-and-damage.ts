/** Two bars a kind of tensor: its share of the bytes, and of the damage. What does not match jumps out. */
import * as Plot from '@observablehq/plot'
import type { ReportData } from '../../quality/report-data.js'
import { section } from '../elements.js'
import { isWeighted } from '../report.js'
import { bytes, kl, percent } from '../units.js'
import { chart, NARROW } from './chart.js'

const BYTES = 'bytes'

interface Bar {
  readonly kind: string
  readonly what: string
  readonly share: number
  readonly text: string
}

export function bytesAndDamage(report: ReportData): HTMLElement {
  const { bars, damage, text } = barsOf(report)
  const kinds = [...new Set(bars.map(({ kind }) => kind))]
  const drawn = chart('Shares of bytes and damage by kind of tensor', (width) =>
    Plot.plot({
      width,
      height: 60 + kinds.length * 40,
      marginLeft: width < NARROW ? 92 : 140,
      marginRight: 56,
      marginTop: 28,
      x: { label: 'share, %', percent: true, grid: true, axis: 'top', ticks: width < NARROW ? 4 : 8, tickFormat: 'd' },
      fy: { domain: kinds, label: null, padding: 0.25, axis: 'left' },
      y: { domain: [BYTES, damage], axis: null, padding: 0.08 },
      color: { domain: [BYTES, damage], range: ['var(--calm)', 'var(--loss)'], legend: true },
      marks: [
        Plot.barX(bars, { x: 'share', y: 'what', fy: 'kind', fill: 'what', rx: 2 }),
        Plot.text(bars, {
          ...{ x: 'share', y: 'what', fy: 'kind', text: (bar: Bar) => percent(bar.share) },
          ...{ textAnchor: 'start', dx: 4, fill: 'currentColor', fontSize: 10 },
        }),
        Plot.tip(bars, Plot.pointerY({ x: 'share', y: 'what', fy: 'kind', title: (bar: Bar) => bar.text })),
      ],
    }),
  )
  return section('kinds', 'Where the bytes and the damage go', text, drawn.root)
}

function barsOf(report: ReportData): { readonly bars: Bar[]; readonly damage: string; readonly text: string } {
  const predicted = new Map<string, number>()
  for (const { tensorKind, predictedKl } of report.tensors) {
    if (predictedKl !== undefined) predicted.set(tensorKind, (predicted.get(tensorKind) ?? 0) + predictedKl)
  }
  const isPredicted = predicted.size > 0
  const weighted = isWeighted(report)
  const damageOf = (kind: ReportData['kinds'][number]): number =>
    isPredicted ? (predicted.get(kind.tensorKind) ?? 0) : weighted ? (kind.ue2 ?? 0) : kind.e2
  const allBytes = report.kinds.reduce((sum, { bytesB }) => sum + bytesB, 0)
  const allDamage = report.kinds.reduce((sum, kind) => sum + damageOf(kind), 0)
  const damage = isPredicted ? 'estimated damage' : weighted ? 'squared error of outputs' : 'squared error'
  const bars = report.kinds
    .filter((kind) => kind.bytesB > allBytes / 1000 || damageOf(kind) > allDamage / 1000)
    .flatMap((kind): Bar[] => {
      const isKnown = isPredicted || !weighted || kind.ue2 !== undefined
      const share = allDamage === 0 ? 0 : damageOf(kind) / allDamage
      const amount = isPredicted ? `, ${kl(damageOf(kind))} a token` : ''
      const bytesShare = kind.bytesB / Math.max(1, allBytes)
      const of = kind.tensorKind
      const size: Bar = {
        kind: of,
        what: BYTES,
        share: bytesShare,
        text: `${of}: ${bytes(kind.bytesB)}, ${percent(bytesShare)}`,
      }
      const lost: Bar = { kind: of, what: damage, share, text: `${of}: ${percent(share)} of the ${damage}${amount}` }
      return isKnown ? [size, lost] : [size]
    })
  const text = isPredicted
    ? 'The damage is an estimate of what each kind adds to the KL divergence, by constants measured on one small model: a hint, not a measurement.'
    : weighted
      ? 'The error that each kind leaves in what its matrices give, by the importance matrix. Kinds that it does not tell of have one bar.'
      : 'Squared error says how much was lost, not how much the model minds: attn_v and ffn_down matter more than their share.'
  return { bars, damage, text }
}
