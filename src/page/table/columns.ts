/** What the two tables show: a row is a tensor, or one of the worst rows of one. */
import type { ReportData, RowFigures, TensorFigures } from '../../quality/report-data.js'
import { isWeighted, problemsOf, rmsOf } from '../report.js'
import { bytes, count, decibels, percent, plain, shape } from '../units.js'

export interface Entry {
  readonly tensor: TensorFigures
  readonly row?: RowFigures
}

export interface Column {
  readonly id: string
  readonly title: string
  /** What it means, in a sentence. */
  readonly help: string
  /** Sorts by it: the worst is what should come first. */
  readonly value: (entry: Entry) => number | string
  readonly text: (entry: Entry) => string
  /** Whether the greatest comes first at the first click. */
  readonly descends: boolean
  /** Share of the table's width. */
  readonly width: string
  /** Left out on a phone. */
  readonly isWide?: boolean
}

const LAST = 1e9

const NAME: Column = {
  ...{ id: 'name', title: 'tensor', help: 'Name of the tensor', descends: false, width: 'minmax(11rem, 2.4fr)' },
  value: ({ tensor }) => tensor.name,
  text: ({ tensor }) => tensor.name,
}
const DTYPE: Column = {
  ...{ id: 'type', title: 'type', help: 'Type in the second model', descends: false, width: 'minmax(4.4rem, 0.7fr)' },
  value: ({ tensor }) => tensor.dtypeB,
  text: ({ tensor }) => tensor.dtypeB,
}

export function tensorColumns(report: ReportData): readonly Column[] {
  const numbers: Column[] = [
    {
      ...{
        id: 'size',
        title: 'size',
        help: 'Bytes in the second model',
        descends: true,
        width: 'minmax(4.6rem, 0.8fr)',
      },
      value: ({ tensor }) => tensor.bytesB,
      text: ({ tensor }) => bytes(tensor.bytesB),
    },
    {
      ...{
        id: 'error',
        title: 'error',
        help: 'Relative error: RMS of errors / RMS of weights',
        descends: true,
        width: 'minmax(4.6rem, 0.8fr)',
      },
      value: ({ tensor }) => tensor.relativeError ?? LAST,
      text: ({ tensor }) => percent(tensor.relativeError),
    },
  ]
  if (isWeighted(report)) {
    numbers.push({
      ...{
        id: 'weighted',
        title: 'weighted',
        help: 'Relative error, weighted by importance',
        descends: true,
        width: 'minmax(5.6rem, 0.8fr)',
      },
      isWide: true,
      value: ({ tensor }) => tensor.weightedError ?? 0,
      text: ({ tensor }) => percent(tensor.weightedError),
    })
  }
  return [
    NAME,
    { ...DTYPE },
    {
      ...{
        id: 'shape',
        title: 'shape',
        help: 'Outermost dimension first',
        descends: true,
        width: 'minmax(7rem, 1.1fr)',
      },
      isWide: true,
      value: ({ tensor }) => tensor.weights,
      text: ({ tensor }) => shape(tensor.shape),
    },
    ...numbers,
    {
      ...{ id: 'snr', title: 'SNR', help: 'Signal to noise in dB', descends: false, width: 'minmax(4.6rem, 0.8fr)' },
      value: ({ tensor }) => tensor.snr ?? LAST,
      text: ({ tensor }) => decibels(tensor.snr),
    },
    {
      ...{
        id: 'row',
        title: 'worst row',
        help: 'Signal to noise of its worst row, in dB',
        descends: false,
        width: 'minmax(6rem, 0.8fr)',
      },
      isWide: true,
      value: ({ tensor }) => tensor.worstRows[0]?.snr ?? LAST,
      text: ({ tensor }) => (tensor.worstRows[0] === undefined ? '–' : decibels(tensor.worstRows[0].snr)),
    },
    {
      ...{
        id: 'max',
        title: 'max error',
        help: 'Largest error, in RMS of the weights',
        descends: true,
        width: 'minmax(6.6rem, 0.9fr)',
      },
      isWide: true,
      value: ({ tensor }) => maxOf(tensor),
      text: ({ tensor }) => (tensor.maxError === null ? '–' : `${plain(maxOf(tensor))} rms`),
    },
    {
      ...{
        id: 'outliers',
        title: 'outliers',
        help: 'Share of weights above 8 RMS',
        descends: true,
        width: 'minmax(5.8rem, 0.8fr)',
      },
      isWide: true,
      value: ({ tensor }) => tensor.outlierShare,
      text: ({ tensor }) => percent(tensor.outlierShare),
    },
    {
      ...{
        id: 'notes',
        title: 'notes',
        help: 'What is worth a look, and what decided',
        descends: true,
        width: 'minmax(7rem, 1.6fr)',
      },
      isWide: true,
      value: ({ tensor }) => problemsOf(tensor).length,
      text: ({ tensor }) => problemsOf(tensor).join('; ') || (tensor.decision?.rule ?? tensor.decision?.reason ?? ''),
    },
  ]
}

const maxOf = (tensor: TensorFigures): number => (tensor.maxError?.error ?? 0) / (rmsOf(tensor) || 1)

export const ROW_COLUMNS: readonly Column[] = [
  NAME,
  {
    ...{
      id: 'index',
      title: 'row',
      help: 'Counted from the tensor’s first',
      descends: false,
      width: 'minmax(5rem, 0.8fr)',
    },
    value: ({ row }) => row?.row ?? 0,
    text: ({ row }) => count(row?.row ?? 0),
  },
  { ...DTYPE, isWide: true },
  {
    ...{ id: 'error', title: 'error', help: 'Relative error of the row', descends: true, width: 'minmax(5rem, 0.8fr)' },
    value: ({ row }) => row?.relativeError ?? LAST,
    text: ({ row }) => percent(row?.relativeError),
  },
  {
    ...{
      id: 'snr',
      title: 'SNR',
      help: 'Signal to noise of the row in dB, not weighted',
      descends: false,
      width: 'minmax(5rem, 0.8fr)',
    },
    value: ({ row }) => row?.snr ?? LAST,
    text: ({ row }) => decibels(row?.snr ?? null),
  },
]
