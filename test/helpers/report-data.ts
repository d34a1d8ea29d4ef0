/** Reports of made-up models, for tests of what shows them. */
import type { ReportData, TensorFigures } from '../../dist/quality/report-data.js'
import { randomBits } from './random.js'

interface Made {
  readonly layers: number
  /** Experts of a layer, each of them three tensors; 0: one FFN. */
  readonly experts?: number
  /** Name of a tensor that is added. */
  readonly oddName?: string
}

const KINDS = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'] as const
const WIDTH = 4096

/** Figures as they could be: Q4_K, with values and FFN outputs in Q6_K; norms without error. */
export function makeReport({ layers, experts = 0, oddName }: Made): ReportData {
  const bits = randomBits(7)
  const random = (): number => bits() / 2 ** 32
  const tensors: TensorFigures[] = []
  const add = (name: string, tensorKind: string, layer: number | null, snr: number | null): void => {
    const isNorm = tensorKind.endsWith('norm')
    const shape = isNorm ? [WIDTH] : [WIDTH, WIDTH]
    const weights = shape.reduce((product, size) => product * size, 1)
    const dtypeB = isNorm ? 'F32' : snr !== null && snr > 30 ? 'Q6_K' : 'Q4_K'
    const w2 = weights * 0.02 ** 2
    const e2 = snr === null ? 0 : w2 / 10 ** (snr / 10)
    const bytesB = Math.round(isNorm ? weights * 4 : weights * (dtypeB === 'Q6_K' ? 210 / 256 : 144 / 256))
    tensors.push({
      ...{ name, tensorKind, layer, shape, dtypeA: isNorm ? 'F32' : 'BF16', dtypeB, bytesA: weights * 2, bytesB },
      ...{ weights, w2, v2: w2, wv: w2 - e2 / 2, e2, snr, relativeError: Math.sqrt(e2 / w2), cosine: 1 - e2 / w2 / 2 },
      maxError: { error: 0.01, element: 5, w: 0.1, v: 0.11 },
      worstRows:
        snr === null ? [] : [0, 1, 2, 3].map((i) => ({ row: i * 7, snr: snr - 3 + i / 4, relativeError: 0.1 })),
      rowSnr: { first: Math.floor(snr ?? 63) - 1, counts: [10, 1000, 20] },
      // Around 0.02: exponent 121.
      magnitudes: { first: 232, counts: [1, 2, 4, 8, 16, 32, 48, 60, 70, 60, 30, 10, 2].map((part) => part * 1e4) },
      errors: { first: 224, counts: [1, 2, 4, 8, 16, 32, 48, 60, 70, 60, 30, 10, 2].map((part) => part * 1e4) },
      outlierShare: random() / 1000,
      ...(!isNorm && { lostBlocks: 0 }),
      decision: { action: isNorm ? 'keep' : 'quantize', reason: isNorm ? 'vector' : 'recipe' },
    })
  }
  add('token_embd.weight', 'token_embd', null, 22.5)
  for (let layer = 0; layer < layers; layer++) {
    add(`blk.${layer}.attn_norm.weight`, 'attn_norm', layer, null)
    for (const kind of KINDS) {
      const usual = kind === 'attn_v' || kind === 'ffn_down' ? 35 : 22.9
      const count = kind.startsWith('ffn') && experts > 0 ? experts : 1
      for (let expert = 0; expert < count; expert++) {
        const name = count === 1 ? `blk.${layer}.${kind}.weight` : `blk.${layer}.${kind}.${expert}.weight`
        add(name, kind, layer, usual + 2 * (random() - 0.5))
      }
    }
  }
  add('output.weight', 'output', null, 34.9)
  // One that is worth a look.
  add(oddName ?? 'blk.0.bad.weight', 'bad', 0, 12)
  return grouped(tensors)
}

function grouped(tensors: readonly TensorFigures[]): ReportData {
  const groupOf = (part: readonly TensorFigures[]): ReportData['total'] => {
    const sum = (of: (tensor: TensorFigures) => number): number => part.reduce((total, tensor) => total + of(tensor), 0)
    const [w2, e2] = [sum((tensor) => tensor.w2), sum((tensor) => tensor.e2)]
    return {
      ...{
        tensors: part.length,
        weights: sum(({ weights }) => weights),
        w2,
        v2: w2,
        wv: w2,
        e2,
        cosine: 1 - e2 / w2 / 2,
      },
      ...{ bytesA: sum(({ bytesA }) => bytesA), bytesB: sum(({ bytesB }) => bytesB) },
      ...{ relativeError: Math.sqrt(e2 / w2), snr: e2 === 0 ? null : 10 * Math.log10(w2 / e2) },
    }
  }
  const total = groupOf(tensors)
  const kinds = [...new Set(tensors.map(({ tensorKind }) => tensorKind))]
  const layers = [...new Set(tensors.flatMap(({ layer }) => (layer === null ? [] : [layer])))]
  const model = (name: string, bytes: number): ReportData['a'] => ({
    ...{ name, format: 'gguf', bytes, tensors: tensors.length, parameters: total.weights },
    bitsPerWeight: (bytes * 8) / total.weights,
  })
  return {
    ...{ schemaVersion: 1, generator: 'apr-stream test', kind: 'quantize', recipe: 'Q4_K_M', total, tensors },
    ...{ a: model('models/Original', total.bytesA), b: model('out/Model.Q4_K_M.gguf', total.bytesB) },
    kinds: kinds.map((tensorKind) => ({
      tensorKind,
      ...groupOf(tensors.filter((tensor) => tensor.tensorKind === tensorKind)),
    })),
    layers: layers.map((layer) => ({ layer, ...groupOf(tensors.filter((tensor) => tensor.layer === layer)) })),
    onlyInA: [{ name: 'rope_freqs.weight', dtype: 'F32', shape: [64], reason: 'missing' }],
    onlyInB: [],
  }
}
